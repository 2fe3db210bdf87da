import type { EpochMs } from '../../../src/kernel/clock.ts';

const FAILURES_BEFORE_REST = 3;
/** While one message tries whether the server is back, the others wait this long. */
const PROBE_MS = 500;

/**
 * When to leave a server alone. After three failures in a row nothing is tried for a while, so that an outage costs a
 * backlog no tries; then one message goes as a probe, and a failure doubles the rest.
 */
export class Rest {
  readonly #firstMs: number;
  readonly #mostMs: number;
  readonly #random: () => number;
  #failures = 0;
  #until: EpochMs | null = null;
  #probing: EpochMs | null = null;

  constructor(firstMs: number, mostMs: number, random: () => number = Math.random) {
    this.#firstMs = firstMs;
    this.#mostMs = Math.max(firstMs, mostMs);
    this.#random = random;
  }

  /** Until when nothing should be sent; null when a message may go. */
  pausedUntil(now: EpochMs): EpochMs | null {
    if (this.#until === null) return null;
    if (now < this.#until) return this.#until;
    return this.#probing !== null && now < this.#probing ? Math.min(now + PROBE_MS, this.#probing) : null;
  }

  /** Asked for each message about to go. Null: go. The first one after a rest is the probe, for at most `probeMs`. */
  enter(now: EpochMs, probeMs: number): EpochMs | null {
    const until = this.pausedUntil(now);
    if (until === null && this.#until !== null) this.#probing = now + probeMs;
    return until;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#until = null;
    this.#probing = null;
  }

  /** Answers true when this failure begins or lengthens a rest. */
  failed(now: EpochMs): boolean {
    // Messages that were under way when the rest began fail too; they must not lengthen it.
    if (this.#until !== null && now < this.#until) return false;
    this.#failures++;
    this.#probing = null;
    const rests = this.#failures - FAILURES_BEFORE_REST;
    if (rests < 0) return false;
    const restMs = Math.min(this.#firstMs * 2 ** Math.min(rests, 30), this.#mostMs);
    this.#until = now + Math.round(restMs * (0.8 + 0.4 * this.#random()));
    return true;
  }
}
