import type { EpochMs } from '../../../src/kernel/clock.ts';

export interface ThrottleLimits {
  /** Failures that cost nothing but the wait for the answer. */
  readonly free: number;
  /** The wait after the next one; doubles with each. */
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
  /** After this long without a failure all is forgotten. */
  readonly forgetMs: number;
}

interface Failures {
  count: number;
  lastAt: EpochMs;
}

/**
 * Counts failed logins by one key (an account or an address) and says how long to wait. Bounded: with more keys than
 * `mostKeys` the one that has been quiet the longest is forgotten.
 */
export class LoginThrottle {
  readonly #limits: ThrottleLimits;
  readonly #mostKeys: number;
  readonly #failures = new Map<string, Failures>();

  constructor(limits: ThrottleLimits, mostKeys = 10_000) {
    this.#limits = limits;
    this.#mostKeys = mostKeys;
  }

  get size(): number {
    return this.#failures.size;
  }

  /** How long the key must wait before the next try, ms; 0 when it may try now. */
  waitMs(key: string, now: EpochMs): number {
    const failures = this.#failures.get(key);
    if (failures === undefined) return 0;
    const { free, firstWaitMs, longestWaitMs, forgetMs } = this.#limits;
    if (now - failures.lastAt >= forgetMs) {
      this.#failures.delete(key);
      return 0;
    }
    if (failures.count <= free) return 0;
    const wait = Math.min(firstWaitMs * 2 ** Math.min(failures.count - free - 1, 30), longestWaitMs);
    return Math.max(failures.lastAt + wait - now, 0);
  }

  /** Counted before the password is looked at, so that tries made at the same time count too. */
  count(key: string, now: EpochMs): void {
    const failures = this.#failures.get(key) ?? { count: 0, lastAt: now };
    failures.count++;
    failures.lastAt = now;
    this.#failures.delete(key);
    this.#failures.set(key, failures);
    if (this.#failures.size > this.#mostKeys) this.#failures.delete(this.#failures.keys().next().value!);
  }

  /** A try that turned out right. */
  forgive(key: string): void {
    this.#failures.delete(key);
  }

  /** Takes one count back, for a key that others share (an address). */
  takeBack(key: string): void {
    const failures = this.#failures.get(key);
    if (failures !== undefined && --failures.count <= 0) this.#failures.delete(key);
  }
}

/** One home or machine: an IPv4 address, or the /64 of an IPv6 address, which is what one customer gets. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped) return mapped[1]!;
  if (!address.includes(':')) return address;
  const [head = '', tail = ''] = address.split('%')[0]!.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const groups = address.includes('::') ? [...left, ...Array<string>(Math.max(8 - left.length - right.length, 0)).fill('0'), ...right] : left;
  return groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16)).join(':');
}
