import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import { forgetNetworks, isKnownNetwork, noteNetwork } from './known-networks.ts';
import { LoginThrottle, networkOf } from './login-throttle.ts';
import { Passwords } from './passwords.ts';
import type { Role } from './scopes.ts';
import { type Session, Sessions } from './sessions.ts';

export interface User {
  readonly userId: string;
  readonly email: string;
}

export const LEAST_PASSWORD = 12;
export const LONGEST_PASSWORD = 200;

/** One person mistypes a few times; past that each try waits, at most a quarter of an hour. */
const BY_ACCOUNT = { free: 5, firstWaitMs: 2_000, longestWaitMs: 15 * 60_000, forgetMs: 60 * 60_000 };
/** An office behind one address has many people. */
const BY_ADDRESS = { free: 20, firstWaitMs: 2_000, longestWaitMs: 15 * 60_000, forgetMs: 60 * 60_000 };

/** The people who work here: their passwords, logins and memberships. */
@injectable()
export class Users {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #passwords: Passwords;
  readonly #sessions: Sessions;
  readonly #byAccount = new LoginThrottle('account', BY_ACCOUNT);
  /** By account and a network that it has been logged in from. */
  readonly #byOwnNetwork = new LoginThrottle('own network', BY_ACCOUNT);
  readonly #byAddress = new LoginThrottle('address', BY_ADDRESS);

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock, @inject(Passwords) passwords: Passwords, @inject(Sessions) sessions: Sessions) {
    this.#store = store;
    this.#clock = clock;
    this.#passwords = passwords;
    this.#sessions = sessions;
  }

  /**
   * A new session for the right password. Every refusal reads the same and takes as long, whether the user exists or
   * not. Faults: `unauthenticated`/`wrong_login`, `exhausted`/`too_many_logins` (details.retryAfterMs).
   */
  async logIn(email: string, password: string, address: string): Promise<{ user: User; session: Session; secret: string }> {
    const account = emailKey(email);
    const network = networkOf(address);
    const forgive = await this.#requirePatience(account, network);
    const row = await this.#store.db.selectFrom('users').selectAll().where('email_key', '=', account).executeTakeFirst();
    const right = await this.#passwords.matches(password, row?.password_hash ?? null);
    if (!right || row === undefined) throw new Fault('unauthenticated', 'That e-mail address and password do not belong together.', { reason: 'wrong_login' });
    const begun = await this.#store.transaction(async (tx) => {
      await forgive(tx);
      // The password may have been changed while this one was being hashed.
      const same = await tx.db.selectFrom('users').select('id').where('id', '=', row.id).where('password_hash', '=', row.password_hash).executeTakeFirst();
      if (same === undefined) throw new Fault('unauthenticated', 'That e-mail address and password do not belong together.', { reason: 'wrong_login' });
      await noteNetwork(tx, row.id, network, this.#clock.now());
      return this.#sessions.begin(tx, row.id);
    });
    return { user: { userId: row.id, email: row.email }, ...begun };
  }

  /** Ends every session of the user and begins a new one. Faults as of `logIn`. */
  async changePassword(userId: string, current: string, next: string, address: string): Promise<{ session: Session; secret: string }> {
    const row = await this.#store.db.selectFrom('users').selectAll().where('id', '=', userId).executeTakeFirstOrThrow();
    const network = networkOf(address);
    const forgive = await this.#requirePatience(row.email_key, network);
    if (!(await this.#passwords.matches(current, row.password_hash))) throw new Fault('unauthenticated', 'The current password is not right.', { reason: 'wrong_password' });
    const hash = await this.#passwords.hash(next);
    return this.#store.transaction(async (tx) => {
      await forgive(tx);
      const { numUpdatedRows } = await tx.db.updateTable('users').set({ password_hash: hash }).where('id', '=', userId).where('password_hash', '=', row.password_hash).executeTakeFirstOrThrow();
      if (numUpdatedRows === 0n) throw new Fault('conflict', 'The password was changed by somebody else meanwhile.', { reason: 'password_changed' });
      await this.#sessions.endAll(tx, userId);
      await forgetNetworks(tx, userId);
      await noteNetwork(tx, userId, network, this.#clock.now());
      return this.#sessions.begin(tx, userId);
    });
  }

  /** Inside the caller's transaction, with a password that has been hashed before it. Fault `conflict`/`unique`. */
  async create(tx: Transaction<Tables>, email: string, passwordHash: string, { operator = false } = {}): Promise<User> {
    const userId = newId();
    await tx.db.insertInto('users').values({ id: userId, email, email_key: emailKey(email), password_hash: passwordHash, created_at: this.#clock.now(), operator: operator ? 1 : 0 }).execute();
    return { userId, email };
  }

  /** Null when there is no such user. */
  async idOf(email: string): Promise<string | null> {
    const row = await this.#store.db.selectFrom('users').select('id').where('email_key', '=', emailKey(email)).executeTakeFirst();
    return row?.id ?? null;
  }

  async get(userId: string): Promise<User> {
    const row = await this.#store.db.selectFrom('users').select(['id', 'email']).where('id', '=', userId).executeTakeFirstOrThrow();
    return { userId: row.id, email: row.email };
  }

  /** Whether the user tends the installation as a whole, beside the workspaces joined. */
  async isOperator(userId: string): Promise<boolean> {
    const row = await this.#store.db.selectFrom('users').select('operator').where('id', '=', userId).executeTakeFirst();
    return row?.operator === 1;
  }

  /** In this workspace; left out: in the first one joined, of those joined at once the one made last. Undefined where there is none. */
  async membership(userId: string, workspace?: string): Promise<{ readonly workspaceId: string; readonly role: string } | undefined> {
    const all = this.#store.db.selectFrom('memberships').select(['workspace_id as workspaceId', 'role']).where('user_id', '=', userId);
    const those = workspace === undefined ? all : all.where('workspace_id', '=', workspace);
    return those.orderBy('created_at').orderBy('workspace_id', 'desc').limit(1).executeTakeFirst();
  }

  /** Joining twice changes nothing. */
  async join(tx: Transaction<Tables>, userId: string, workspaceId: string, role: Role): Promise<void> {
    await tx.db.insertInto('memberships').values({ user_id: userId, workspace_id: workspaceId, role, created_at: this.#clock.now() }).onConflict((c) => c.columns(['user_id', 'workspace_id']).doNothing()).execute();
  }

  /** Counts the try. What it answers takes that back, for one that turns out right. An owner does not wait for what strangers do. */
  #requirePatience(account: string, network: string): Promise<(tx: Transaction<Tables>) => Promise<void>> {
    return this.#store.transaction(async (tx) => {
      const known = await isKnownNetwork(tx, account, network);
      const [throttle, key] = known ? [this.#byOwnNetwork, `${network} ${account}`] : [this.#byAccount, account];
      const now = this.#clock.now();
      const waitMs = Math.max(await throttle.waitMs(tx, key, now), await this.#byAddress.waitMs(tx, network, now));
      if (waitMs > 0) {
        throw new Fault('exhausted', 'Too many logins have failed. Wait, then try again.', { reason: 'too_many_logins', details: { retryAfterMs: waitMs } });
      }
      await throttle.count(tx, key, now);
      await this.#byAddress.count(tx, network, now);
      return async (later) => {
        await throttle.forgive(later, key);
        await this.#byAddress.takeBack(later, network);
      };
    });
  }
}

/** Two spellings of one address are one user. */
export function emailKey(email: string): string {
  return email.trim().normalize('NFKC').toLowerCase();
}
