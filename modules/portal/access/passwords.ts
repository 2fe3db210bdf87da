import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';

export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** OWASP's Password Storage Cheat Sheet (2025) for scrypt: 64 MiB, and two passes of it. */
const COST: ScryptCost = { N: 2 ** 16, r: 8, p: 2 };
const KEY_BYTES = 32;
/** Each hash under way holds 64 MiB and a thread of the pool. */
const AT_ONCE = 2;
const MOST_WAITING = 10;

/**
 * Hashes passwords with scrypt (RFC 7914), at most two at a time, so that a flood of logins takes neither the memory
 * nor all threads. Fault `exhausted` when the line is full.
 */
@injectable()
export class Passwords {
  readonly #cost: ScryptCost;
  /** What nobody's password hashes to. */
  readonly #nobody: string;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(cost: ScryptCost = COST) {
    this.#cost = cost;
    this.#nobody = format(cost, randomBytes(16), randomBytes(KEY_BYTES));
  }

  /** `scrypt$N$r$p$salt$hash`: carries its cost, so that the cost can rise later. */
  async hash(password: string): Promise<string> {
    const salt = randomBytes(16);
    return format(this.#cost, salt, await this.#derive(password, salt, this.#cost));
  }

  /** Takes as long for a user who does not exist (`stored` null) as for a wrong password. */
  async matches(password: string, stored: string | null): Promise<boolean> {
    const { cost, salt, key } = parse(stored ?? this.#nobody);
    const derived = await this.#derive(password, salt, cost);
    return timingSafeEqual(derived, key) && stored !== null;
  }

  async #derive(password: string, salt: Buffer, cost: ScryptCost): Promise<Buffer> {
    await this.#enter();
    try {
      // The same password typed on two keyboards can arrive as different code points (NIST SP 800-63B, 3.1.1.2).
      return await new Promise((resolve, reject) =>
        scrypt(password.normalize('NFKC'), salt, KEY_BYTES, { ...cost, maxmem: 256 * cost.N * cost.r }, (error, key) => (error ? reject(error) : resolve(key))),
      );
    } finally {
      this.#leave();
    }
  }

  #enter(): Promise<void> | void {
    if (this.#running < AT_ONCE) {
      this.#running++;
      return;
    }
    if (this.#waiting.length >= MOST_WAITING) {
      throw new Fault('exhausted', 'Too many people are logging in at once. Try again in a few seconds.', { reason: 'too_many_logins', details: { retryAfterMs: 5_000 } });
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next();
  }
}

function format(cost: ScryptCost, salt: Buffer, key: Buffer): string {
  return ['scrypt', cost.N, cost.r, cost.p, salt.toString('base64url'), key.toString('base64url')].join('$');
}

function parse(stored: string): { cost: ScryptCost; salt: Buffer; key: Buffer } {
  const [scheme, N, r, p, salt, key] = stored.split('$');
  if (scheme !== 'scrypt' || salt === undefined || key === undefined) throw new Error('A stored password hash is not of a known form.');
  return { cost: { N: Number(N), r: Number(r), p: Number(p) }, salt: Buffer.from(salt, 'base64url'), key: Buffer.from(key, 'base64url') };
}
