import { inject, injectable } from 'inversify';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import { hashOfSecret, newSecret } from './secrets.ts';

export interface Session {
  readonly sessionId: string;
  readonly userId: string;
  readonly createdAt: EpochMs;
  /** Position of its last change, for lists that must show it; null where there is none. */
  readonly lastWrite: string | null;
}

const SECRET_FORM = /^[A-Za-z0-9_-]{43}$/;
/** Without a request for this long, or this long after the login, a session is over. */
export const IDLE_MS = 12 * 3_600_000;
export const LONGEST_MS = 7 * 86_400_000;
const SEEN_NOTED_EVERY_MS = 60_000;
const MOST_PER_USER = 20;

/** Logins, kept on the server. The cookie holds 256 random bits, the database their hash. */
@injectable()
export class Sessions {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock, @inject(Log) log: Log) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  /** Always a new secret, whatever the browser sent before. Answers what the cookie is to hold. */
  async begin(tx: Transaction<Tables>, userId: string): Promise<{ session: Session; secret: string }> {
    const now = this.#clock.now();
    const secret = newSecret();
    const session = { sessionId: newId(), userId, createdAt: now, lastWrite: null };
    await tx.db.deleteFrom('sessions').where((eb) => eb.or([eb('created_at', '<', now - LONGEST_MS), eb('last_seen_at', '<', now - IDLE_MS)])).execute();
    const kept = tx.db.selectFrom('sessions').select('id').where('user_id', '=', userId).orderBy('last_seen_at', 'desc').limit(MOST_PER_USER - 1);
    await tx.db.deleteFrom('sessions').where('user_id', '=', userId).where('id', 'not in', kept).execute();
    await tx.db.insertInto('sessions').values({ secret_hash: hashOfSecret(secret), id: session.sessionId, user_id: userId, created_at: now, last_seen_at: now, last_write: null }).execute();
    return { session, secret };
  }

  /** The session that the cookie speaks of; null when it is malformed, unknown, idle for too long, too old or ended. */
  async find(secret: string): Promise<Session | null> {
    if (!SECRET_FORM.test(secret)) return null;
    const hash = hashOfSecret(secret);
    const now = this.#clock.now();
    const row = await this.#store.db
      .selectFrom('sessions')
      .selectAll()
      .where('secret_hash', '=', hash)
      .where('created_at', '>', now - LONGEST_MS)
      .where('last_seen_at', '>', now - IDLE_MS)
      .executeTakeFirst();
    if (row === undefined) return null;
    if (now - row.last_seen_at >= SEEN_NOTED_EVERY_MS) this.#noteSeen(row.id, now);
    return { sessionId: row.id, userId: row.user_id, createdAt: row.created_at, lastWrite: row.last_write };
  }

  /** Whether the session goes on. An open stream alone does not keep it from going idle. */
  async isOpen(sessionId: string): Promise<boolean> {
    const now = this.#clock.now();
    const row = await this.#store.db
      .selectFrom('sessions')
      .select('last_seen_at')
      .where('id', '=', sessionId)
      .where('created_at', '>', now - LONGEST_MS)
      .where('last_seen_at', '>', now - IDLE_MS)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Ending twice changes nothing. */
  async end(sessionId: string): Promise<void> {
    await this.#store.transaction((tx) => tx.db.deleteFrom('sessions').where('id', '=', sessionId).execute());
  }

  /** Every session of the user, on every device. */
  async endAll(tx: Transaction<Tables>, userId: string): Promise<void> {
    await tx.db.deleteFrom('sessions').where('user_id', '=', userId).execute();
  }

  /** Not waited for: when it is lost, the session ends a minute earlier. */
  #noteSeen(sessionId: string, now: EpochMs): void {
    this.#store
      .transaction((tx) => tx.db.updateTable('sessions').set({ last_seen_at: now }).where('id', '=', sessionId).execute())
      .catch((thrown: unknown) => this.#log.debug({ sessionId, err: String(thrown) }, 'The last sight of a session could not be noted.'));
  }
}
