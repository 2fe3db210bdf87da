import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { Store } from '../../../../src/ports/storage.ts';
import { ApiKeys } from '../../access/api-keys.ts';
import { Scope } from '../../access/scopes.ts';
import type { Tables } from '../../tables.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Id, listOf, page, pageOf } from './shapes.ts';

const ApiKey = z.object({
  keyId: z.string(),
  name: z.string(),
  prefix: z.string(),
  scopes: z.array(Scope),
  createdAt: z.int(),
  createdBy: z.string(),
  lastUsedAt: z.int().nullable(),
  revokedAt: z.int().nullable(),
});

/** The keys of programs. */
@injectable()
export class ApiKeyRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];

  constructor(@inject(ApiKeys) apiKeys: ApiKeys, @inject(Store) store: Store<Tables>) {
    const tag = 'API keys';
    const params = z.strictObject({ keyId: Id });
    this.routes = [
      route({
        id: 'listApiKeys',
        method: 'GET',
        path: '/api-keys',
        tag,
        summary: 'Keys, newest first, without their secrets.',
        access: 'admin',
        list: true,
        query: z.strictObject(page),
        answer: listOf(ApiKey),
        handle: async ({ query, call }) => {
          const rows = await apiKeys.list(call.requireWorkspace(), { before: query.after, limit: query.limit + 1 });
          return { body: pageOf(rows, query.limit, (last) => last.keyId) };
        },
      }),
      route({
        id: 'createApiKey',
        method: 'POST',
        path: '/api-keys',
        tag,
        summary: 'Make a key. The secret is in this answer and nowhere else. A key holds exactly the scopes that it is given.',
        access: 'admin',
        body: z.strictObject({ name: z.string().trim().min(1).max(200), scopes: z.array(Scope).min(1).max(Scope.options.length) }),
        answer: z.object({ ...ApiKey.shape, secret: z.string() }),
        status: 201,
        faults: ['too_many_keys'],
        handle: async ({ body, call }) => {
          const workspace = call.requireWorkspace();
          const repeatKey = call.idempotencyKey === undefined ? undefined : `${call.actor.kind} ${call.actor.id} ${call.idempotencyKey}`;
          const { key, secret } = await store.transaction((tx) => apiKeys.create(tx, { workspace, name: body.name, scopes: body.scopes, createdBy: call.actor.id, repeatKey }));
          return { body: { ...key, secret }, location: `/api-keys/${key.keyId}`, targetId: key.keyId };
        },
      }),
      route({
        id: 'getApiKey',
        method: 'GET',
        path: '/api-keys/{keyId}',
        tag,
        summary: 'One key, without its secret.',
        access: 'admin',
        params,
        answer: ApiKey,
        faults: ['api_key_not_found'],
        handle: async ({ params: { keyId }, call }) => ({ body: await apiKeys.get(call.requireWorkspace(), keyId) }),
      }),
      route({
        id: 'revokeApiKey',
        method: 'DELETE',
        path: '/api-keys/{keyId}',
        tag,
        summary: 'Revoke a key: it is worth nothing from when this answers. Revoking twice changes nothing.',
        access: 'admin',
        params,
        answer: ApiKey,
        faults: ['api_key_not_found'],
        handle: async ({ params: { keyId }, call }) => ({ body: await apiKeys.revoke(call.requireWorkspace(), keyId) }),
      }),
    ];
  }
}
