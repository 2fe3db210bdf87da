import type { PoolClient } from 'pg';
import type { Snapshot } from '../../../src/ports/storage.ts';
import { batchRowsOf } from '../shared/limits.ts';
import { type ColumnRow, everyRow, tableShapes } from '../shared/table-shapes.ts';
import { type Aborted, whenAborted } from '../shared/when-aborted.ts';
import { rowsOfCursor } from './cursor.ts';
import { readFault, type Readers } from './readers.ts';

/** The first statement of the transaction: from here on it sees nothing else. */
const COLUMNS = `
  SELECT one.relname AS "table", field.attname AS "column", (field.attidentity <> '')::int AS "numbered",
    coalesce(array_position(main.indkey::int2[], field.attnum) + 1, 0) AS key_part
  FROM pg_class one JOIN pg_attribute field ON field.attrelid = one.oid
  LEFT JOIN pg_index main ON main.indrelid = one.oid AND main.indisprimary
  WHERE one.relnamespace = $1::regnamespace AND one.relkind = 'r' AND field.attnum > 0 AND NOT field.attisdropped
  ORDER BY one.oid, field.attnum`;

/** Holds the present state of a schema on a connection for long reads. */
export async function openSnapshot({ readers, schema, signal }: { readonly readers: Readers; readonly schema: string; readonly signal: AbortSignal }): Promise<Snapshot> {
  const client = await readers.take();
  const aborted = whenAborted(signal, () => readers.giveBack(client, true));
  let isOpen = true;
  const close = async () => {
    if (!isOpen) return;
    isOpen = false;
    aborted.forget();
    // A cursor that is still read from ends with its connection.
    await client.query('ROLLBACK').then(() => readers.giveBack(client, false), () => readers.giveBack(client, true));
  };
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows } = await client.query({ text: COLUMNS, values: [`"${schema}"`] });
    return { tables: tableShapes(rows as ColumnRow[]), rows: (table, options = {}) => rowsOf(client, aborted, everyRow(table, options.byKey), batchRowsOf(options)), close };
  } catch (error) {
    await close();
    throw readFault(error);
  }
}

async function* rowsOf(client: PoolClient, aborted: Aborted, query: string, batchRows: number): AsyncGenerator<Record<string, unknown>[], void, void> {
  try {
    await aborted.race(client.query(`DECLARE rows NO SCROLL CURSOR FOR ${query}`));
    yield* rowsOfCursor({ client, name: 'rows', mostRows: batchRows, aborted });
  } catch (error) {
    throw readFault(error);
  } finally {
    await client.query('CLOSE rows').catch(() => {});
  }
}
