import { inject, injectable } from 'inversify';
import { z } from 'zod';
import type { Call } from '../../../../src/kernel/call.ts';
import { Clock } from '../../../../src/kernel/clock.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { Installation } from '../../../../src/kernel/module.ts';
import { System, SystemStatus } from '../../../../src/kernel/system.ts';
import { ApiKeys } from '../../access/api-keys.ts';
import { Sessions } from '../../access/sessions.ts';
import { Users } from '../../access/users.ts';
import { notification } from '../../../notification/contract.ts';
import { trigger } from '../../../trigger/contract.ts';
import { portal } from '../../contract.ts';
import { Live } from '../../live/live.ts';
import type { Principal } from '../principal.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Id } from './shapes.ts';

/** The installation itself, and what changes in it live. */
@injectable()
export class SystemRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];

  constructor(@inject(Installation) installation: Installation, @inject(Clock) clock: Clock, @inject(System) system: System, @inject(Live) live: Live, @inject(ApiKeys) apiKeys: ApiKeys, @inject(Sessions) sessions: Sessions, @inject(Users) users: Users) {
    const stillMay = (principal: Principal, call: Call) => (principal.session === null ? apiKeys.isValid(call.requireWorkspace(), principal.actor.id) : sessions.isOpen(principal.session.sessionId));
    this.routes = [
      route({
        id: 'getSystem',
        method: 'GET',
        path: '/system',
        tag: 'System',
        summary: 'This installation: its address, its clock, and the hashes of the contracts between its modules.',
        access: 'read',
        answer: z.object({ name: z.literal('multilith'), publicUrl: z.string(), time: z.int(), contracts: z.record(z.string(), z.string()) }),
        handle: async () => ({
          body: {
            name: 'multilith' as const,
            publicUrl: installation.publicUrl,
            time: clock.now(),
            contracts: Object.fromEntries([portal, trigger, notification].map((contract) => [contract.name, contract.hash])),
          },
        }),
      }),
      route({
        id: 'listHosts',
        method: 'GET',
        path: '/system/hosts',
        tag: 'System',
        summary: 'The hosts of the installation with their modules, queues and the calls between them, and in `unreachable` those that have not answered within 1.5 seconds. For operators only: an API key, and a user like any other, is of a workspace, the hosts are everybody\'s.',
        access: 'session',
        answer: SystemStatus,
        faults: ['operator_required'],
        handle: async ({ principal, call }) => {
          if (!(await users.isOperator(principal!.actor.id))) throw new Fault('denied', 'This is for operators of the installation.', { reason: 'operator_required' });
          return { body: await system.status(call) };
        },
      }),
      route({
        id: 'stream',
        method: 'GET',
        path: '/stream',
        tag: 'System',
        summary: 'What changes, as server-sent events: `changes` with counts of people and events and with deliveries that came to rest, at most four times a second. Nothing is replayed.',
        access: 'read',
        stream: 'text/event-stream',
        query: z.strictObject({ workspace: Id.optional() }),
        answer: z.string(),
        faults: ['too_many_streams'],
        handle: async ({ principal, call }) => ({
          body: '',
          stream: (response) => live.listen({ workspace: call.requireWorkspace(), response, mayListen: () => stillMay(principal!, call) }),
        }),
      }),
    ];
  }
}
