import type { EpochMs } from '../kernel/clock.ts';

interface Drop {
  readonly order: number;
  readonly at: EpochMs;
}

const NEVER: Drop = { order: 0, at: Number.NEGATIVE_INFINITY };

/**
 * Which keys were dropped lately, so that an answer which was asked for before its drop is not kept. Bounded: drops
 * beyond `most` are forgotten oldest first, and whatever was asked for before a forgotten one counts as dropped.
 */
export class RecentDrops {
  readonly #horizonMs: number;
  readonly #most: number;
  readonly #recent = new Map<string, Drop>();
  #order = 0;
  #floor = NEVER;
  #all = NEVER;

  /** @param horizonMs No answer is looked at later than this after it was asked for. */
  constructor(horizonMs: number, most: number) {
    this.#horizonMs = horizonMs;
    this.#most = most;
  }

  /** Drawn when a call is made, for `isCurrent` when its answer comes. */
  get token(): number {
    return this.#order;
  }

  add(key: string, at: EpochMs): void {
    this.#recent.delete(key);
    this.#recent.set(key, { order: ++this.#order, at });
    for (const [oldest, drop] of this.#recent) {
      const full = this.#recent.size > this.#most;
      if (!full && drop.at > at - this.#horizonMs) break;
      this.#recent.delete(oldest);
      if (full) this.#floor = drop;
    }
  }

  addAll(at: EpochMs): void {
    this.#recent.clear();
    this.#all = this.#floor = { order: ++this.#order, at };
  }

  /** Whether an answer asked for at `token` has outlived every drop of its key. */
  isCurrent(key: string, token: number): boolean {
    return this.#of(key).order <= token;
  }

  /** The same for an answer that is in the local cache, out of which single drops take what they name. */
  outlivesAll(token: number): boolean {
    return this.#all.order <= token;
  }

  /** When the key was dropped last, as far as is known; minus infinity for never. */
  lastAt(key: string): EpochMs {
    return this.#of(key).at;
  }

  #of(key: string): Drop {
    const drop = this.#recent.get(key);
    return drop === undefined || drop.order < this.#floor.order ? this.#floor : drop;
  }
}
