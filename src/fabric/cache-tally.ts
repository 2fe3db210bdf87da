import type { Clock, Timer } from '../kernel/clock.ts';
import type { Counter, Metrics } from '../kernel/telemetry.ts';

/** What became of the calls of one operation, since the start. `hit + shared + miss + stale` is their number. */
export interface CacheCounts {
  /** Answered in this process. */
  readonly hit: number;
  /** Answered by the tier that hosts share. */
  readonly shared: number;
  /** Waited for the callee, alone or with others. */
  readonly miss: number;
  /** Answered with what was older than its ttl, since the callee could not be reached. */
  readonly stale: number;
  /** Entries that an event, or a command's reply, has named. */
  readonly drop: number;
}
export type CacheOutcome = keyof CacheCounts;

const OUTCOMES = ['hit', 'shared', 'miss', 'stale', 'drop'] as const satisfies readonly CacheOutcome[];
const FLUSH_MS = 1_000;

/** Counts by adding one to a field; a labelled counter of a metrics library costs as much as the whole hit. Passed on once a second. */
export class CacheTally {
  readonly #counts: Record<CacheOutcome, number> = { hit: 0, shared: 0, miss: 0, stale: 0, drop: 0 };
  readonly #passedOn: Record<CacheOutcome, number> = { ...this.#counts };
  readonly #labels: { readonly contract: string; readonly method: string };
  readonly #answers: Counter;
  readonly #drops: Counter;
  readonly #clock: Clock;
  #timer: Timer | undefined;

  constructor(labels: { readonly contract: string; readonly method: string }, metrics: Metrics, clock: Clock) {
    this.#labels = labels;
    this.#clock = clock;
    this.#answers = metrics.counter('multilith_cache_answers_total', 'Calls of cached queries by where their answer came from: hit, shared, miss, stale.', ['contract', 'method', 'outcome']);
    this.#drops = metrics.counter('multilith_cache_drops_total', 'Cached answers that an event or a reply has named as outdated.', ['contract', 'method']);
  }

  get counts(): CacheCounts {
    return { ...this.#counts };
  }

  add(outcome: CacheOutcome): void {
    this.#counts[outcome]++;
    this.#timer ??= this.#clock.after(FLUSH_MS, () => this.flush());
  }

  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const outcome of OUTCOMES) {
      const added = this.#counts[outcome] - this.#passedOn[outcome];
      if (added === 0) continue;
      this.#passedOn[outcome] += added;
      if (outcome === 'drop') this.#drops.add(added, this.#labels);
      else this.#answers.add(added, { ...this.#labels, outcome });
    }
  }
}
