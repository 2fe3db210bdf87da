import type { TableShape } from '../../../src/ports/storage.ts';

/** A column as a database's own catalog lists it. */
export interface ColumnRow {
  readonly table: string;
  readonly column: string;
  readonly numbered: 0 | 1;
}

/** Columns, those of a table one behind the other, as tables in the same order. */
export function tableShapes(columns: readonly ColumnRow[]): TableShape[] {
  const tables = Map.groupBy(columns, ({ table }) => table);
  return [...tables].map(([name, of]) => ({ name, columns: of.map(({ column }) => column), numbered: of.find(({ numbered }) => numbered === 1)?.column ?? null }));
}

/** Every row of a table; names are the database's own. */
export function everyRow({ name, columns, numbered }: TableShape): string {
  const order = numbered === null ? '' : ` ORDER BY "${numbered}"`;
  return `SELECT ${columns.map((column) => `"${column}"`).join(', ')} FROM "${name}"${order}`;
}
