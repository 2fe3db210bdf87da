import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { Store } from '../../../../src/ports/storage.ts';
import { Users } from '../../access/users.ts';
import { workspaceNotFound, Workspaces } from '../../access/workspaces.ts';
import type { Tables } from '../../tables.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Id, listOf, page, pageOf } from './shapes.ts';

const Workspace = z.object({ workspaceId: z.string(), name: z.string(), createdAt: z.int() });
const Name = z.string().trim().min(1).max(200);

/** The tenants that one belongs to. */
@injectable()
export class WorkspaceRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];

  constructor(@inject(Workspaces) workspaces: Workspaces, @inject(Users) users: Users, @inject(Store) store: Store<Tables>) {
    const tag = 'Workspaces';
    const params = z.strictObject({ workspaceId: Id });
    this.routes = [
      route({
        id: 'listWorkspaces',
        method: 'GET',
        path: '/workspaces',
        tag,
        summary: 'The workspaces that one belongs to, oldest first.',
        access: 'session',
        list: true,
        query: z.strictObject(page),
        answer: listOf(Workspace),
        handle: async ({ principal, query }) => {
          const rows = await workspaces.ofUser(principal!.actor.id, { after: query.after, limit: query.limit + 1 });
          return { body: pageOf(rows, query.limit, (last) => last.workspaceId) };
        },
      }),
      route({
        id: 'createWorkspace',
        method: 'POST',
        path: '/workspaces',
        tag,
        summary: 'Make a workspace and become its owner.',
        access: 'session',
        body: z.strictObject({ name: Name }),
        answer: Workspace,
        status: 201,
        handle: async ({ principal, body, call }) => {
          const userId = principal!.actor.id;
          const made = await store.transaction(async (tx) => {
            const workspace = await workspaces.create(tx, body.name, call.idempotencyKey === undefined ? undefined : `${userId} ${call.idempotencyKey}`);
            await users.join(tx, userId, workspace.workspaceId, 'owner');
            return workspace;
          });
          return { body: made, location: `/workspaces/${made.workspaceId}`, targetId: made.workspaceId };
        },
      }),
      route({
        id: 'getWorkspace',
        method: 'GET',
        path: '/workspaces/{workspaceId}',
        tag,
        summary: 'One workspace.',
        access: 'read',
        params,
        answer: Workspace,
        handle: async ({ params: { workspaceId }, call }) => ({ body: await workspaces.get(ownOnly(workspaceId, call.workspace)) }),
      }),
      route({
        id: 'updateWorkspace',
        method: 'PATCH',
        path: '/workspaces/{workspaceId}',
        tag,
        summary: 'Rename the workspace.',
        access: 'admin',
        params,
        body: z.strictObject({ name: Name }),
        answer: Workspace,
        handle: async ({ params: { workspaceId }, body, call }) => ({ body: await workspaces.rename(ownOnly(workspaceId, call.workspace), body.name) }),
      }),
    ];
  }
}

/** A request speaks for one workspace; every other one does not exist for it. */
function ownOnly(workspaceId: string, workspace: string | null): string {
  if (workspaceId !== workspace) throw workspaceNotFound();
  return workspaceId;
}
