import type { SQLInputValue, SQLOutputValue } from 'node:sqlite';
import { writeOutsideTransaction } from '../shared/faults.ts';
import { scanEnded, whenAborted } from '../shared/when-aborted.ts';
import { isWriteOnReader, sqliteFault } from './errors.ts';
import { rowsOf } from './rows.ts';
import type { Batch } from './side-protocol.ts';
import { sideThread } from './side-thread.ts';

export interface ScanRequest {
  readonly path: string;
  /** One that is held; left out: one of its own. */
  readonly snapshot?: number;
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
  readonly batchRows: number;
  readonly cacheKb: number;
  readonly signal: AbortSignal;
  /** Of the storage's log: what a snapshot shows is given out only when it would survive a power cut. */
  readonly whenDurable: () => Promise<void> | undefined;
}

/**
 * Reads over one snapshot in the side thread. One batch is with the consumer while the next is read; a third is not
 * asked for before the consumer comes back. The snapshot is given up when the consumer stops, for whatever reason.
 */
export async function* scan<Row>({ signal, whenDurable, ...request }: ScanRequest): AsyncGenerator<Row[], void, void> {
  if (signal.aborted) throw scanEnded(signal);
  const cursor = sideThread.newCursor();
  const aborted = whenAborted(signal);
  try {
    let batch: Batch | undefined = await aborted.race(sideThread.scan({ kind: 'scan', cursor, ...request }));
    await aborted.race(whenDurable());
    const columns = batch.columns!;
    while (batch !== undefined) {
      const ahead: Promise<Batch> | undefined = batch.done ? undefined : sideThread.next(cursor);
      // Nobody waits for it while the consumer is busy, and maybe nobody ever will.
      ahead?.catch(() => {});
      if (batch.rows.length > 0) yield rowsOf<Row>(columns, batch.rows as SQLOutputValue[][]);
      batch = ahead && (await aborted.race(ahead));
    }
  } catch (error) {
    throw isWriteOnReader(error) ? writeOutsideTransaction(error) : sqliteFault(error);
  } finally {
    aborted.forget();
    sideThread.end(cursor).catch(() => {});
  }
}
