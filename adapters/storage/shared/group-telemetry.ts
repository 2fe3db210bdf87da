import type { Log, Metrics } from '../../../src/kernel/telemetry.ts';

/** What metrics and log tell of groups of transactions. */
export interface GroupTelemetry {
  committed(transactions: number, seconds: number): void;
  failed(fault: unknown, transactions: number): void;
}

export function groupTelemetry({ name, log, metrics }: { readonly name: string; readonly log: Log; readonly metrics: Metrics }): GroupTelemetry {
  const labels = { storage: name };
  const seconds = metrics.histogram('storage_commit_seconds', 'Time of one commit, which a group of transactions shares.', ['storage']);
  const written = metrics.counter('storage_transactions_total', 'Transactions that were committed or rolled back.', ['storage']);
  const lost = metrics.counter('storage_transactions_failed_total', 'Transactions whose group could not be committed.', ['storage']);
  return {
    committed(transactions, took) {
      seconds.observe(took, labels);
      written.add(transactions, labels);
    },
    failed(fault, transactions) {
      lost.add(transactions, labels);
      log.error({ err: fault, transactions }, 'A group of transactions was not committed; each of them was told.');
    },
  };
}
