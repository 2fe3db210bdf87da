import type { PoolClient, QueryConfig, QueryResult } from 'pg';
import { writeOutsideTransaction } from '../shared/faults.ts';
import { scanEnded, whenAborted } from '../shared/when-aborted.ts';
import { rowsOfCursor } from './cursor.ts';
import { readFault, type Readers } from './readers.ts';

export interface ScanRequest {
  readonly readers: Readers;
  readonly query: QueryConfig;
  readonly batchRows: number;
  readonly signal: AbortSignal;
}

/** Reads over one snapshot through a cursor of the server's. The connection goes back when the consumer stops, for whatever reason. */
export async function* scan<Row>({ readers, query, batchRows, signal }: ScanRequest): AsyncGenerator<Row[], void, void> {
  if (signal.aborted) throw scanEnded(signal);
  if (/^\s*(?:insert|update|delete|merge)\b/i.test(query.text)) throw writeOutsideTransaction();
  const client = await readers.take();
  // Also while the consumer is busy with a batch.
  const aborted = whenAborted(signal, () => readers.giveBack(client, true));
  let fetching: Promise<QueryResult> = client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  try {
    await aborted.race(fetching);
    fetching = client.query({ ...query, text: `DECLARE scan NO SCROLL CURSOR FOR ${query.text}` });
    await aborted.race(fetching);
    yield* rowsOfCursor({ client, name: 'scan', mostRows: batchRows, aborted, fetching: (fetch) => (fetching = fetch) }) as AsyncIterable<Row[]>;
  } catch (error) {
    throw readFault(error);
  } finally {
    aborted.forget();
    rollBack(readers, client, fetching);
  }
}

/** Nobody waits for it. */
function rollBack(readers: Readers, client: PoolClient, fetching: Promise<unknown>): void {
  fetching
    .catch(() => {})
    .then(() => client.query('ROLLBACK'))
    .then(
      () => readers.giveBack(client, false),
      () => readers.giveBack(client, true),
    );
}
