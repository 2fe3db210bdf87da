import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { Audit } from '../../audit/audit.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { listOf, page } from './shapes.ts';

const Entry = z.object({
  entryId: z.string(),
  actor: z.object({ kind: z.string(), id: z.string() }),
  action: z.string(),
  targetId: z.string().nullable(),
  outcome: z.string(),
  address: z.string(),
  callId: z.string(),
  time: z.int(),
});

@injectable()
export class AuditRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];

  constructor(@inject(Audit) audit: Audit) {
    this.routes = [
      route({
        id: 'listAuditEntries',
        method: 'GET',
        path: '/audit',
        tag: 'Audit',
        summary: 'Who changed what, when and from where, newest first. `begun` as outcome: under way, or cut off by a crash. With several filters a page may be short, or empty, and still have a `next`.',
        access: 'admin',
        list: true,
        query: z.strictObject({ ...page, actorId: z.string().max(200).optional(), action: z.string().max(100).optional(), targetId: z.string().max(200).optional() }),
        answer: listOf(Entry),
        handle: async ({ query: { after, limit, ...filter }, principal, call }) => {
          const { entries, next } = await audit.list(call.requireWorkspace(), { ...filter, before: after, limit, seen: principal!.lastWrite });
          return { body: { items: entries, next } };
        },
      }),
    ];
  }
}
