import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Installation } from '../../../src/kernel/module.ts';
import type { Greeting } from '../../../src/kernel/module.ts';
import { type Reader, Store } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import { noteNetwork } from './known-networks.ts';
import { networkOf } from './login-throttle.ts';
import { Passwords } from './passwords.ts';
import { hashOfSecret, newSecret } from './secrets.ts';
import { type Session, Sessions } from './sessions.ts';
import { Users } from './users.ts';
import { type Workspace, Workspaces } from './workspaces.ts';

const SECRET_FORM = /^[A-Za-z0-9_-]{43}$/;
const VALID_MS = 24 * 3_600_000;

/**
 * The first start: whoever can read the program's standard output makes the first owner, who is an operator, by a link
 * that works once.
 * While there is no owner each start makes a new link, and the one before stops working; where several processes start, each
 * one's works.
 */
@injectable()
export class Setup implements Greeting {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #installation: Installation;
  readonly #passwords: Passwords;
  readonly #users: Users;
  readonly #workspaces: Workspaces;
  readonly #sessions: Sessions;

  constructor(
    @inject(Store) store: Store<Tables>,
    @inject(Clock) clock: Clock,
    @inject(Installation) installation: Installation,
    @inject(Passwords) passwords: Passwords,
    @inject(Users) users: Users,
    @inject(Workspaces) workspaces: Workspaces,
    @inject(Sessions) sessions: Sessions,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#installation = installation;
    this.#passwords = passwords;
    this.#users = users;
    this.#workspaces = workspaces;
    this.#sessions = sessions;
  }

  async lines(): Promise<readonly string[]> {
    const link = await this.pendingLink();
    if (link === null) return [];
    return ['Make the first owner and workspace with this link (it works once, within 24 hours; a restart makes another):', `  ${link}`];
  }

  /** A new link, or null when there is an owner. Earlier links stop working, but for those of other processes. */
  async pendingLink(): Promise<string | null> {
    const secret = newSecret();
    const pending = await this.#store.transaction(async (tx) => {
      const outdated = tx.db.deleteFrom('setup_links');
      await (this.#store.capabilities.shared ? outdated.where('expires_at', '<=', this.#clock.now()) : outdated).execute();
      if (await hasOwner(tx)) return false;
      await tx.db.insertInto('setup_links').values({ secret_hash: hashOfSecret(secret), expires_at: this.#clock.now() + VALID_MS }).execute();
      return true;
    });
    return pending ? `${this.#installation.publicUrl}/setup/${secret}` : null;
  }

  /** Whether the link would work now. */
  isOpen(secret: string): Promise<boolean> {
    return this.#isOpen(this.#store, secret);
  }

  /**
   * Makes the first owner and workspace and logs the owner in. One of two at the same time wins.
   * Fault `not_found`/`setup_link_invalid` when the link is unknown, used or too old.
   */
  async complete(secret: string, wanted: { email: string; password: string; workspace: string }, address: string): Promise<{ workspace: Workspace; session: Session; secret: string }> {
    // Before the costly hash, so that strangers cannot have it computed.
    if (!(await this.isOpen(secret))) throw linkInvalid();
    const hash = await this.#passwords.hash(wanted.password);
    return this.#store.transaction(async (tx) => {
      if (!(await this.#isOpen(tx, secret))) throw linkInvalid();
      await tx.db.deleteFrom('setup_links').execute();
      const user = await this.#users.create(tx, wanted.email, hash, { operator: true });
      await noteNetwork(tx, user.userId, networkOf(address), this.#clock.now());
      const workspace = await this.#workspaces.create(tx, wanted.workspace);
      await this.#users.join(tx, user.userId, workspace.workspaceId, 'owner');
      // Workspaces that were made before there was anybody: the demo's.
      const others = await tx.db.selectFrom('workspaces').select('id').where('id', '!=', workspace.workspaceId).execute();
      for (const { id } of others) await this.#users.join(tx, user.userId, id, 'owner');
      return { workspace, ...(await this.#sessions.begin(tx, user.userId)) };
    });
  }

  async #isOpen(reader: Reader<Tables>, secret: string): Promise<boolean> {
    if (!SECRET_FORM.test(secret) || (await hasOwner(reader))) return false;
    const row = await reader.db.selectFrom('setup_links').select('expires_at').where('secret_hash', '=', hashOfSecret(secret)).executeTakeFirst();
    return row !== undefined && this.#clock.now() < row.expires_at;
  }
}

async function hasOwner(reader: Reader<Tables>): Promise<boolean> {
  return (await reader.db.selectFrom('memberships').select('user_id').where('role', '=', 'owner').limit(1).executeTakeFirst()) !== undefined;
}

function linkInvalid(): Fault {
  return new Fault('not_found', 'This link has been used or is too old. Restart the program: it prints another while there is no owner.', { reason: 'setup_link_invalid' });
}
