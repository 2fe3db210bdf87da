import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import type { Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import { type Counter, Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import { IdentityHashes } from '../people/identity-hashes.ts';
import { LiveSegments } from '../segments/live-segments.ts';
import type { Tables } from '../tables.ts';
import { BatchRun, type Problem } from './batch-run.ts';
import { IngestProblems } from './ingest-problems.ts';
import type { IngestBatch } from './job.ts';
import { readItem, type WireItem } from './wire-item.ts';

/**
 * Records a batch: messages that were taken before fall out, the rest is applied in the order of its times (items of
 * the same time as they stand), people are written once, other modules are told, all in one transaction.
 */
@injectable()
export class IngestBatchHandler implements TransactionalHandler<IngestBatch, Transaction<Tables>> {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #hashes: IdentityHashes;
  readonly #segments: LiveSegments;
  readonly #problems: IngestProblems;
  readonly #items: Counter;

  constructor(
    @inject(Clock) clock: Clock,
    @inject(Log) log: Log,
    @inject(Metrics) metrics: Metrics,
    @inject(IdentityHashes) hashes: IdentityHashes,
    @inject(LiveSegments) segments: LiveSegments,
    @inject(IngestProblems) problems: IngestProblems,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#hashes = hashes;
    this.#segments = segments;
    this.#problems = problems;
    this.#items = metrics.counter('ingest_items_handled_total', 'Accepted items, by what became of them.', ['outcome']);
  }

  async handle({ workspace, payload, trace }: Received<IngestBatch>, tx: Transaction<Tables>): Promise<void> {
    const { receivedAt, type, batch, refused } = payload;
    const run = new BatchRun(tx, { workspace: workspace!, receivedAt, now: this.#clock.now(), trace, hashes: this.#hashes, segments: this.#segments });
    const problems: Problem[] = refused.map(({ messageId, type: of, reason }) => ({ messageId, type: of, reason, detail: '' }));
    const items: WireItem[] = [];
    for (const raw of batch.batch) {
      const item = readItem(raw, { type, sentAt: batch.sentAt, receivedAt });
      if (typeof item === 'string') problems.push({ messageId: null, type: null, reason: item, detail: '' });
      else items.push(item);
    }
    items.sort((a, b) => a.time - b.time);
    await run.expect(items);
    for (const item of items) {
      this.#items.add(1, { outcome: await run.take(item) });
    }
    await run.finish();
    problems.push(...run.problems);
    if (problems.some(({ reason }) => reason === 'internal')) this.#log.error({ workspace, batch: batch.batch.length }, 'Items of a batch failed; they are listed as ingest problems.');
    await this.#problems.add(tx, workspace!, problems);
  }
}
