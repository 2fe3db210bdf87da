import type { TableShape } from '../../../src/ports/storage.ts';

/** A column as a database's own catalog lists it. */
export interface ColumnRow {
  readonly table: string;
  readonly column: string;
  readonly numbered: 0 | 1;
  /** Its place in the primary key, counted from 1; 0 for none. */
  readonly key_part: number;
}

/** Columns, those of a table one behind the other, as tables in the same order. */
export function tableShapes(columns: readonly ColumnRow[]): TableShape[] {
  const tables = Map.groupBy(columns, ({ table }) => table);
  return [...tables].map(([name, of]) => ({ name, columns: of.map(({ column }) => column), numbered: of.find(({ numbered }) => numbered === 1)?.column ?? null, key: keyOf(of) }));
}

function keyOf(columns: readonly ColumnRow[]): string[] {
  return columns.filter(({ key_part }) => key_part > 0).sort((a, b) => a.key_part - b.key_part).map(({ column }) => column);
}

/** Every row of a table; names are the database's own. */
export function everyRow({ name, columns, numbered, key }: TableShape, byKey = false): string {
  const by = byKey ? key : numbered === null ? [] : [numbered];
  const order = by.length === 0 ? '' : ` ORDER BY ${by.map((column) => `"${column}"`).join(', ')}`;
  return `SELECT ${columns.map((column) => `"${column}"`).join(', ')} FROM "${name}"${order}`;
}
