import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';

/** OWASP's Password Storage Cheat Sheet (2025) for scrypt: 64 MiB, and two passes of it. */
const COST = { N: 2 ** 16, r: 8, p: 2 } as const;
const KEY_BYTES = 32;
/** Each hash under way holds 64 MiB and a thread of the pool. */
const AT_ONCE = 2;
const MOST_WAITING = 20;

/**
 * Hashes passwords with scrypt (RFC 7914), at most two at a time, so that a flood of logins takes neither the memory
 * nor all threads. Fault `exhausted` when the line is full.
 */
@injectable()
export class Passwords {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** `scrypt$N$r$p$salt$hash`: carries its cost, so that the cost can rise later. */
  async hash(password: string): Promise<string> {
    const salt = randomBytes(16);
    const key = await this.#derive(password, salt, COST);
    return ['scrypt', COST.N, COST.r, COST.p, salt.toString('base64url'), key.toString('base64url')].join('$');
  }

  /** Takes as long for a user who does not exist (`stored` null) as for a wrong password. */
  async matches(password: string, stored: string | null): Promise<boolean> {
    const { cost, salt, key } = parse(stored ?? NOBODY);
    const derived = await this.#derive(password, salt, cost);
    return timingSafeEqual(derived, key) && stored !== null;
  }

  async #derive(password: string, salt: Buffer, cost: { N: number; r: number; p: number }): Promise<Buffer> {
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

/** What nobody's password hashes to. */
const NOBODY = ['scrypt', COST.N, COST.r, COST.p, randomBytes(16).toString('base64url'), randomBytes(KEY_BYTES).toString('base64url')].join('$');

function parse(stored: string): { cost: { N: number; r: number; p: number }; salt: Buffer; key: Buffer } {
  const [scheme, N, r, p, salt, key] = stored.split('$');
  if (scheme !== 'scrypt' || salt === undefined || key === undefined) throw new Error('A stored password hash is not of a known form.');
  return { cost: { N: Number(N), r: Number(r), p: Number(p) }, salt: Buffer.from(salt, 'base64url'), key: Buffer.from(key, 'base64url') };
}
