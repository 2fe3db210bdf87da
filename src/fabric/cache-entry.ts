import type { EpochMs } from '../kernel/clock.ts';
import type { Kept } from '../ports/cache.ts';

/** How long an answer is good for, counted from when it was asked for. */
export interface EntryTimes {
  readonly ttlMs: number;
  /** From this age on a hit asks anew behind the caller's back. */
  readonly refreshAfterMs: number;
  /** Beyond the ttl. */
  readonly staleIfErrorMs: number;
}

interface EntryFields extends Kept {
  readonly request: unknown;
  readonly token: number;
  readonly origin: 'shared' | 'miss';
}

/** An answer with the request that it answers, both frozen. */
export class Entry implements Kept {
  readonly request: unknown;
  readonly value: unknown;
  readonly askedAt: EpochMs;
  readonly bytes: number;
  /** Of `RecentDrops`, drawn when it was asked for. */
  readonly token: number;
  readonly origin: 'shared' | 'miss';
  /** Settled: a hit makes no promise of its own. */
  readonly answer: Promise<unknown>;
  refreshAt: EpochMs;
  /** When the callee was last seen unable to answer it anew. */
  failedAt: EpochMs = Number.NEGATIVE_INFINITY;
  readonly #freshUntil: EpochMs;
  readonly #servableUntil: EpochMs;

  constructor({ request, value, askedAt, bytes, token, origin }: EntryFields, { ttlMs, refreshAfterMs, staleIfErrorMs }: EntryTimes) {
    this.request = request;
    this.value = value;
    this.askedAt = askedAt;
    this.bytes = bytes;
    this.token = token;
    this.origin = origin;
    this.answer = Promise.resolve(value);
    this.refreshAt = askedAt + refreshAfterMs;
    this.#freshUntil = askedAt + ttlMs;
    this.#servableUntil = this.#freshUntil + staleIfErrorMs;
  }

  /** False, too, when the clock was set back to before the answer was asked for. */
  isFresh(now: EpochMs): boolean {
    return now < this.#freshUntil && now >= this.askedAt;
  }

  /** Whether it may stand in for a callee that cannot be reached. */
  isServable(now: EpochMs): boolean {
    return now < this.#servableUntil && now >= this.askedAt;
  }
}
