import { inject, injectable } from 'inversify';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { idFrom, newId } from '../../../src/kernel/ids.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import type { Tables, WorkspaceRow } from '../tables.ts';

export interface Workspace {
  readonly workspaceId: string;
  readonly name: string;
  readonly createdAt: EpochMs;
}

/** The tenants: each is one client of an agency, and sees nothing of the others. */
@injectable()
export class Workspaces {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** The same `repeatKey` makes one workspace. */
  async create(tx: Transaction<Tables>, name: string, repeatKey?: string): Promise<Workspace> {
    const id = repeatKey === undefined ? newId() : idFrom('workspace', repeatKey);
    const row: WorkspaceRow = { id, name, created_at: this.#clock.now() };
    await tx.db.insertInto('workspaces').values(row).onConflict((c) => c.column('id').doNothing()).execute();
    return toWorkspace(await tx.db.selectFrom('workspaces').selectAll().where('id', '=', id).executeTakeFirstOrThrow());
  }

  async get(workspaceId: string): Promise<Workspace> {
    const row = await this.#store.db.selectFrom('workspaces').selectAll().where('id', '=', workspaceId).executeTakeFirst();
    if (row === undefined) throw workspaceNotFound();
    return toWorkspace(row);
  }

  async rename(workspaceId: string, name: string): Promise<Workspace> {
    await this.#store.transaction((tx) => tx.db.updateTable('workspaces').set({ name }).where('id', '=', workspaceId).execute());
    return this.get(workspaceId);
  }

  /** Those that the user belongs to, oldest first. */
  async ofUser(userId: string, page: { after?: string | undefined; limit: number }): Promise<Workspace[]> {
    let query = this.#store.db
      .selectFrom('workspaces')
      .innerJoin('memberships', 'memberships.workspace_id', 'workspaces.id')
      .selectAll('workspaces')
      .where('memberships.user_id', '=', userId)
      .orderBy('workspaces.id')
      .limit(page.limit);
    if (page.after !== undefined) query = query.where('workspaces.id', '>', page.after);
    return (await query.execute()).map(toWorkspace);
  }
}

export function workspaceNotFound(): Fault {
  return new Fault('not_found', 'There is no such workspace, or you do not belong to it.', { reason: 'workspace_not_found' });
}

function toWorkspace(row: WorkspaceRow): Workspace {
  return { workspaceId: row.id, name: row.name, createdAt: row.created_at };
}
