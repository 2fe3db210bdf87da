import type { SQLOutputValue } from 'node:sqlite';

/**
 * Rows as plain objects. node:sqlite's own have no prototype and are a third slower to make and to read than arrays
 * of values turned into objects of one shape here.
 */
export function rowsOf<Row>(columns: readonly string[], values: readonly (readonly SQLOutputValue[])[]): Row[] {
  const rows = new Array<Row>(values.length);
  for (let r = 0; r < values.length; r++) {
    const from = values[r]!;
    const row: Record<string, SQLOutputValue> = {};
    for (let c = 0; c < columns.length; c++) row[columns[c]!] = from[c]!;
    rows[r] = row as Row;
  }
  return rows;
}
