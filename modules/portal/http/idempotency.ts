import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { inject, injectable } from 'inversify';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Installation } from '../../../src/kernel/module.ts';
import type { StorageTransaction } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';

/** An answer as it went out, to be given again word for word. */
export interface StoredAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A key that a request holds while it is under way. */
export interface Reservation {
  readonly id: string;
  readonly key: string;
  readonly until: EpochMs;
}

const KEPT_MS = 24 * 3_600_000;
/** Longer than any request takes: a row that is older was left by a crash, and the request may be made again. */
const UNDER_WAY_MS = 120_000;
const FORGOTTEN_AT_ONCE = 100;
const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Makes writes repeatable (draft-ietf-httpapi-idempotency-key-header-07): the same key with the same request has one
 * effect and one answer for 24 hours. Answers may hold secrets that are shown once, so they are kept encrypted under
 * a key that comes from the client's own, which is not kept.
 */
@injectable()
export class Idempotency {
  readonly #clock: Clock;
  readonly #secret: Uint8Array;

  constructor(@inject(Clock) clock: Clock, @inject(Installation) installation: Installation) {
    this.#clock = clock;
    this.#secret = installation.secret;
  }

  /**
   * Takes the key for this request, or answers what the first one answered. `owner` is workspace and actor.
   * Faults: `conflict`/`idempotency_in_progress`, `conflict`/`idempotency_key_reused`.
   */
  async reserve(tx: StorageTransaction<Tables>, owner: readonly (string | null)[], key: string, request: readonly (string | Uint8Array)[]): Promise<Reservation | StoredAnswer> {
    const now = this.#clock.now();
    const id = hashOf([JSON.stringify([...owner, key])]);
    const fingerprint = hashOf(request);
    const expired = tx.db.selectFrom('idempotency_keys').select('id').where('expires_at', '<=', now).limit(FORGOTTEN_AT_ONCE);
    await tx.db.deleteFrom('idempotency_keys').where('id', 'in', expired).execute();
    await tx.db.deleteFrom('idempotency_keys').where('id', '=', id).where('expires_at', '<=', now).execute();
    const row = await tx.db.selectFrom('idempotency_keys').selectAll().where('id', '=', id).executeTakeFirst();
    if (row === undefined) {
      const until = now + UNDER_WAY_MS;
      await tx.db.insertInto('idempotency_keys').values({ id, fingerprint, answer: null, expires_at: until }).execute();
      return { id, key, until };
    }
    if (row.fingerprint !== fingerprint) throw new Fault('conflict', 'This Idempotency-Key was used for another request. Take a new one.', { reason: 'idempotency_key_reused' });
    if (row.answer === null) throw new Fault('conflict', 'The first request with this Idempotency-Key is still under way.', { reason: 'idempotency_in_progress', details: { retryAfterMs: 1_000 } });
    return this.#decrypt(key, row.answer);
  }

  async keep(tx: StorageTransaction<Tables>, held: Reservation, answer: StoredAnswer): Promise<void> {
    await tx.db
      .updateTable('idempotency_keys')
      .set({ answer: this.#encrypt(held.key, answer), expires_at: this.#clock.now() + KEPT_MS })
      .where('id', '=', held.id)
      .where('expires_at', '=', held.until)
      .execute();
  }

  /** Gives the key back: nothing was decided, and the same request may be tried again. */
  async release(tx: StorageTransaction<Tables>, held: Reservation): Promise<void> {
    await tx.db.deleteFrom('idempotency_keys').where('id', '=', held.id).where('expires_at', '=', held.until).execute();
  }

  #encrypt(key: string, answer: StoredAnswer): Uint8Array {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#keyFor(key), iv, { authTagLength: TAG_BYTES });
    return Buffer.concat([iv, cipher.update(JSON.stringify(answer)), cipher.final(), cipher.getAuthTag()]);
  }

  #decrypt(key: string, stored: Uint8Array): StoredAnswer {
    const decipher = createDecipheriv('aes-256-gcm', this.#keyFor(key), stored.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAuthTag(stored.subarray(-TAG_BYTES));
    return JSON.parse(Buffer.concat([decipher.update(stored.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]).toString()) as StoredAnswer;
  }

  #keyFor(key: string): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#secret, key, 'multilith.portal.idempotency', 32));
  }
}

function hashOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex');
}
