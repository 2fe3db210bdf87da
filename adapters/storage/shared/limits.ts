import type { TransactionOptions } from '../../../src/ports/storage.ts';

const DEFAULT_TIMEOUT_MS = 5_000;
const LONGEST_TIMEOUT_MS = 60_000;
/** A migration may rewrite a table of millions of rows. */
export const MIGRATION_TIMEOUT_MS = 3_600_000;
const DEFAULT_BATCH_ROWS = 500;
const MOST_BATCH_ROWS = 10_000;
/** A batch also ends at about this size, so that few large rows do not become one large batch. */
export const BATCH_BYTES = 1_048_576;

export function timeoutOf({ timeoutMs = DEFAULT_TIMEOUT_MS }: TransactionOptions): number {
  return Math.min(timeoutMs, LONGEST_TIMEOUT_MS);
}

export function batchRowsOf({ batchRows = DEFAULT_BATCH_ROWS }: { readonly batchRows?: number }): number {
  return Math.min(batchRows, MOST_BATCH_ROWS);
}

/** About what a row takes in memory. */
export function bytesOf(row: readonly unknown[]): number {
  let bytes = 0;
  for (const value of row) bytes += typeof value === 'string' ? value.length * 2 : value instanceof Uint8Array ? value.byteLength : 8;
  return bytes;
}
