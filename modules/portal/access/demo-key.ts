import { inject, injectable } from 'inversify';
import { z } from 'zod';
import type { Call } from '../../../src/kernel/call.ts';
import { Fault, type Json } from '../../../src/kernel/fault.ts';
import type { OperatorCommand } from '../../../src/kernel/module.ts';
import { Store } from '../../../src/ports/storage.ts';
import { Audit } from '../audit/audit.ts';
import type { Tables } from '../tables.ts';
import { ApiKeys } from './api-keys.ts';
import { Users } from './users.ts';
import { Workspaces } from './workspaces.ts';

const Request = z.strictObject({ workspace: z.string().trim().min(1).max(200).default('Demo agency') });

/**
 * The workspace of that name, made when there is none, and a new key for it: how the demo gets in. Every owner becomes
 * one there too, and the keys that it made before stop working. Answers `{ workspaceId, secret }`.
 */
@injectable()
export class DemoKey implements OperatorCommand {
  readonly #store: Store<Tables>;
  readonly #workspaces: Workspaces;
  readonly #users: Users;
  readonly #apiKeys: ApiKeys;
  readonly #audit: Audit;

  constructor(@inject(Store) store: Store<Tables>, @inject(Workspaces) workspaces: Workspaces, @inject(Users) users: Users, @inject(ApiKeys) apiKeys: ApiKeys, @inject(Audit) audit: Audit) {
    this.#store = store;
    this.#workspaces = workspaces;
    this.#users = users;
    this.#apiKeys = apiKeys;
    this.#audit = audit;
  }

  async run(request: Json, call: Call): Promise<Json> {
    const wanted = Request.safeParse(request ?? {});
    if (!wanted.success) throw new Fault('invalid', 'Send { "workspace": "its name" } or nothing.');
    const name = wanted.data.workspace;
    const made = await this.#store.transaction(async (tx) => {
      const known = await tx.db.selectFrom('workspaces').select('id').where('name', '=', name).orderBy('id').limit(1).executeTakeFirst();
      const workspace = known?.id ?? (await this.#workspaces.create(tx, name)).workspaceId;
      const owners = await tx.db.selectFrom('memberships').select('user_id').distinct().where('role', '=', 'owner').execute();
      for (const { user_id } of owners) await this.#users.join(tx, user_id, workspace, 'owner');
      const old = await tx.db.selectFrom('api_keys').select('id').where('workspace_id', '=', workspace).where('created_by', '=', call.actor.id).where('revoked_at', 'is', null).execute();
      const { key, secret } = await this.#apiKeys.create(tx, { workspace, name: 'Demo', scopes: ['ingest', 'read', 'write'], createdBy: call.actor.id });
      await this.#audit.begin(tx, { workspace, actor: call.actor, action: 'demoKey', targetId: key.keyId, address: 'local', callId: call.id }, 'done');
      return { workspace, secret, old };
    });
    for (const { id } of made.old) await this.#apiKeys.revoke(made.workspace, id);
    return { workspaceId: made.workspace, secret: made.secret };
  }
}
