import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PoolClient, QueryResult } from 'pg';
import { BATCH_BYTES, bytesOf } from '../shared/limits.ts';
import type { Aborted } from '../shared/when-aborted.ts';

/** Before anything is known of a query's rows, each of which may have some 60 KB. */
const FIRST_ROWS = 25;

export interface Cursor {
  readonly client: PoolClient;
  /** As it was declared. */
  readonly name: string;
  /** In a batch. */
  readonly mostRows: number;
  readonly aborted: Aborted;
  /** Told of each fetch as it is asked for. */
  readonly fetching?: (fetch: Promise<QueryResult>) => void;
}

/**
 * What is left of a cursor, in batches of bounded size. One is with the consumer while the next is fetched; a third is
 * not asked for before the consumer comes back. Throws what pg throws.
 */
export async function* rowsOfCursor<Row extends object>({ client, name, mostRows, aborted, fetching }: Cursor): AsyncGenerator<Row[], void, void> {
  const fetch = (rows: number): { readonly rows: number; readonly batch: Promise<QueryResult> } => {
    const batch = client.query(`FETCH FORWARD ${rows} FROM ${name}`);
    // Nobody waits for it while the consumer is busy, and maybe nobody ever will.
    batch.catch(() => {});
    fetching?.(batch);
    return { rows, batch };
  };
  for (let asked = fetch(Math.min(mostRows, FIRST_ROWS)); ; ) {
    const { rows } = await aborted.race(asked.batch);
    const isLast = rows.length < asked.rows;
    if (!isLast) asked = fetch(fitting(rows, mostRows));
    yield* inBatches(rows as Row[]);
    if (isLast) return;
  }
}

/** How many rows like these to ask for next: the server counts rows, not bytes. */
function fitting(rows: readonly object[], most: number): number {
  const bytes = rows.reduce((sum, row) => sum + bytesOf(Object.values(row)), 0);
  return Math.max(1, Math.min(most, Math.floor((BATCH_BYTES * rows.length) / bytes)));
}

/** With a turn for others between them: the rows before, after which so many were asked for, may have been smaller. */
async function* inBatches<Row extends object>(rows: Row[]): AsyncGenerator<Row[], void, void> {
  let from = 0;
  let bytes = 0;
  for (let i = 0; i < rows.length; i++) {
    bytes += bytesOf(Object.values(rows[i]!));
    if (bytes < BATCH_BYTES || i === rows.length - 1) continue;
    yield rows.slice(from, i + 1);
    await nextTurn();
    from = i + 1;
    bytes = 0;
  }
  if (from < rows.length) yield from === 0 ? rows : rows.slice(from);
}
