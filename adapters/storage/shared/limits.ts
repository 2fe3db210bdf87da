import type { TransactionOptions } from '../../../src/ports/storage.ts';

const DEFAULT_TIMEOUT_MS = 5_000;
const LONGEST_TIMEOUT_MS = 60_000;
/** A migration may rewrite a table of millions of rows. */
export const MIGRATION_TIMEOUT_MS = 3_600_000;
const DEFAULT_BATCH_ROWS = 500;
const MOST_BATCH_ROWS = 10_000;

export function timeoutOf({ timeoutMs = DEFAULT_TIMEOUT_MS }: TransactionOptions): number {
  return Math.min(timeoutMs, LONGEST_TIMEOUT_MS);
}

export function batchRowsOf({ batchRows = DEFAULT_BATCH_ROWS }: { readonly batchRows?: number }): number {
  return Math.min(batchRows, MOST_BATCH_ROWS);
}
