import type { Snapshot, TableShape } from '../../../src/ports/storage.ts';
import { batchRowsOf } from '../shared/limits.ts';
import { type ColumnRow, everyRow, tableShapes } from '../shared/table-shapes.ts';
import { sqliteFault } from './errors.ts';
import { scan, type ScanRequest } from './scan.ts';
import { sideThread } from './side-thread.ts';

const COLUMNS = `
  SELECT one.name AS "table", field.name AS "column", one.sql LIKE '%autoincrement%' AND field.pk = 1 AS "numbered", field.pk AS key_part
  FROM sqlite_schema one JOIN pragma_table_info(one.name) field
  WHERE one.type = 'table' AND one.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
  ORDER BY one.rowid, field.cid`;

/** Holds the present state of a database on a connection of the side thread. */
export async function openSnapshot(of: Pick<ScanRequest, 'path' | 'cacheKb' | 'signal' | 'whenDurable'>): Promise<Snapshot> {
  const snapshot = sideThread.newCursor();
  const close = () => sideThread.release(snapshot).catch(() => {});
  const read = <Row>(sql: string, batchRows: number): AsyncIterable<Row[]> => scan<Row>({ ...of, snapshot, sql, values: [], batchRows });
  try {
    await sideThread.hold({ kind: 'snapshot', snapshot, path: of.path, cacheKb: of.cacheKb });
    await of.whenDurable();
    const columns: ColumnRow[] = [];
    for await (const rows of read<ColumnRow>(COLUMNS, batchRowsOf({}))) columns.push(...rows);
    return { tables: tableShapes(columns), rows: (table: TableShape, options = {}) => read(everyRow(table, options.byKey), batchRowsOf(options)), close };
  } catch (error) {
    await close();
    throw sqliteFault(error);
  }
}
