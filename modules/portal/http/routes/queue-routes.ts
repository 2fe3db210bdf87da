import { inject, injectable } from 'inversify';
import { z } from 'zod';
import type { Call } from '../../../../src/kernel/call.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { LANES } from '../../../../src/kernel/message.ts';
import { QUEUE_STATUSES, Queues, viewOf } from '../../../../src/ports/queues.ts';
import { Users } from '../../access/users.ts';
import { workspaceNotFound } from '../../access/workspaces.ts';
import type { Principal } from '../principal.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { listOf, page } from './shapes.ts';

const QueueName = z.string().min(1).max(200);
const Workspace = z.string().min(1).max(200);
const Count = z.int();
const Queue = z.object({
  name: z.string(),
  status: z.enum(QUEUE_STATUSES),
  depth: Count.describe('Due now and not yet taken, all lanes together.'),
  ready: z.object({ urgent: Count, normal: Count, bulk: Count }),
  waiting: Count.describe('Not yet due: delayed, or between two tries.'),
  inFlight: Count,
  concurrency: Count.describe('The limit of inFlight: what all consumers of the queue take at once.'),
  consumers: Count,
  dead: Count.describe('In the error queue.'),
  oldestMs: z.number().nullable().describe('Age of the oldest message that is due.'),
  paused: z.boolean(),
  pausedWorkspaces: z.array(z.string()),
  lastPublished: z.number().nullable().describe('When the queue last received a message.'),
  lastTaken: z.number().nullable().describe('When a message was last pulled from it.'),
});
const PastTries = z.object({
  first: z.number(),
  last: z.number(),
  times: Count,
  reason: z.string().nullable().describe('Null: it was requeued.'),
});
const Message = z.object({
  id: z.string(),
  name: z.string(),
  workspace: z.string().nullable(),
  key: z.string().nullable(),
  lane: z.enum(LANES),
  time: z.number().describe('When it was published.'),
  due: z.number(),
  attempts: Count,
  reason: z.string().nullable().describe('Why the last try failed.'),
  history: z.array(PastTries).describe('What it has been through, the oldest first, requeues included: tries in a row that failed for the same reason are one part, and the last ten parts are kept.'),
  payload: z.string().describe('JSON text; what is marked personal reads "[redacted]".'),
});

/** Which messages; fields are joined by and. */
const filter = {
  workspace: Workspace.optional(),
  name: z.string().min(1).max(200).optional(),
  reason: z.string().min(1).max(500).optional(),
  before: z.int().optional(),
};
const Ids = z.array(z.string().min(1).max(512)).min(1).max(1_000);
/** Nobody empties a queue by leaving something out. */
const Chosen = { ...filter, ids: Ids.optional(), all: z.literal(true).optional(), after: z.string().max(2_048).optional() };
const chosen = 'Say which messages: `all`, or any of `ids`, `workspace`, `name`, `reason` (a part of it) and `before` (published before). ' +
  'One answer is for a part of them: while it has a `next`, send the same again with it as `after`.';
const FAULTS = ['queue_not_found', 'workspace_not_found'];

/** The queues, as far as whoever asks may see them: an operator all of it, everybody else their workspace's messages. */
@injectable()
export class QueueRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];
  readonly #queues: Queues;
  readonly #users: Users;

  constructor(@inject(Queues) queues: Queues, @inject(Users) users: Users) {
    this.#queues = queues;
    this.#users = users;
    this.routes = [...this.#looking(), ...this.#pausing(), ...this.#mending()];
  }

  #looking(): AnyRoute[] {
    const tag = 'Queues';
    const params = z.strictObject({ queue: QueueName });
    return [
      route({
        id: 'listQueues',
        method: 'GET',
        path: '/queues',
        tag,
        summary: 'Every queue with its depths, by name. Operators see the whole, or one workspace\'s share with `workspace`; everybody else their workspace\'s share, counted up to 10,000.',
        access: 'read',
        query: z.strictObject({ workspace: Workspace.optional(), status: z.enum(QUEUE_STATUSES).optional() }),
        answer: z.object({ items: z.array(Queue) }),
        faults: ['workspace_not_found'],
        handle: async ({ query, principal, call }) => {
          const workspace = await this.#reach(principal!, query.workspace, call);
          const views = (await this.#queues.inspect(only({ workspace }))).map((state) => viewOf(state, workspace));
          return { body: { items: views.filter(({ status }) => query.status === undefined || status === query.status).sort((a, b) => (a.name < b.name ? -1 : 1)).map(toQueue) } };
        },
      }),
      route({
        id: 'getQueue',
        method: 'GET',
        path: '/queues/{queue}',
        tag,
        summary: 'One queue.',
        access: 'read',
        params,
        query: z.strictObject({ workspace: Workspace.optional() }),
        answer: Queue,
        faults: FAULTS,
        handle: async ({ params: { queue }, query, principal, call }) => {
          const workspace = await this.#reach(principal!, query.workspace, call);
          const [state] = await this.#queues.inspect({ queue, ...only({ workspace }) });
          return { body: toQueue(viewOf(state!, workspace)) };
        },
      }),
      route({
        id: 'browseQueue',
        method: 'GET',
        path: '/queues/{queue}/messages',
        tag,
        summary: 'Messages of a queue, or with `dead=true` of its error queue, with the reason, the tries and the history. A page may be short, or empty, and still have a `next`.',
        access: 'read',
        list: true,
        params,
        query: z.strictObject({ ...page, ...filter, dead: z.boolean().default(false), id: z.string().min(1).max(512).optional() }),
        answer: listOf(Message),
        faults: FAULTS,
        handle: async ({ params: { queue }, query: { after, limit, dead, id, workspace: asked, ...rest }, principal, call }) => {
          const workspace = await this.#reach(principal!, asked, call);
          const wanted = only({ ...rest, workspace, ids: id === undefined ? undefined : [id] });
          const { messages, next } = await this.#queues.browse(queue, { dead, filter: wanted, limit, ...only({ after }) });
          return { body: { items: messages.map(toMessage), next } };
        },
      }),
    ];
  }

  #pausing(): AnyRoute[] {
    const tag = 'Queues';
    const shared = { method: 'POST', tag, access: 'admin', params: z.strictObject({ queue: QueueName }), body: z.strictObject({ workspace: Workspace.optional() }), answer: Queue, faults: FAULTS } as const;
    return [
      route({
        ...shared,
        id: 'pauseQueue',
        path: '/queues/{queue}/pause',
        summary: 'Hold back one workspace\'s messages, or all where an operator names none. What is under way finishes; the rest waits, over restarts too.',
        handle: async ({ params: { queue }, body, principal, call }) => {
          const workspace = await this.#reach(principal!, body.workspace, call);
          await this.#queues.pause(queue, workspace);
          return { body: await this.#look(queue, workspace) };
        },
      }),
      route({
        ...shared,
        id: 'resumeQueue',
        path: '/queues/{queue}/resume',
        summary: 'Let them go on. A queue that is paused as a whole holds every workspace back until an operator resumes it.',
        handle: async ({ params: { queue }, body, principal, call }) => {
          const workspace = await this.#reach(principal!, body.workspace, call);
          await this.#queues.resume(queue, workspace);
          return { body: await this.#look(queue, workspace) };
        },
      }),
    ];
  }

  #mending(): AnyRoute[] {
    const shared = { method: 'POST', tag: 'Queues', access: 'admin', params: z.strictObject({ queue: QueueName }), timeoutMs: 30_000, faults: [...FAULTS, 'messages_unnamed', 'cursor_invalid'] } as const;
    return [
      route({
        ...shared,
        id: 'requeueMessages',
        path: '/queues/{queue}/requeue',
        summary: `Dead messages back into their queue, their tries counted anew. ${chosen}`,
        body: z.strictObject(Chosen),
        answer: z.object({ requeued: Count, next: z.string().nullable() }),
        handle: async ({ params: { queue }, body: { after, ...choice }, principal, call }) => {
          const { count, next } = await this.#queues.requeue(queue, { filter: await this.#choose(choice, principal!, call), ...only({ after }) });
          return { body: { requeued: count, next } };
        },
      }),
      route({
        ...shared,
        id: 'purgeMessages',
        path: '/queues/{queue}/purge',
        summary: `Delete messages for good: of the queue, or with \`dead\` of its error queue. What is under way stays. ${chosen}`,
        body: z.strictObject({ ...Chosen, dead: z.boolean() }),
        answer: z.object({ purged: Count, next: z.string().nullable() }),
        handle: async ({ params: { queue }, body: { after, dead, ...choice }, principal, call }) => {
          const { count, next } = await this.#queues.purge(queue, { dead, filter: await this.#choose(choice, principal!, call), ...only({ after }) });
          return { body: { purged: count, next } };
        },
      }),
    ];
  }

  /**
   * Whose messages a request is about; undefined is everybody's. Fault `not_found`/`workspace_not_found` for another
   * workspace's, whether there is one or not.
   */
  async #reach(principal: Principal, asked: string | undefined, call: Call): Promise<string | undefined> {
    if (principal.session !== null && (await this.#users.isOperator(principal.session.userId))) return asked;
    const own = call.requireWorkspace();
    if (asked !== undefined && asked !== own) throw workspaceNotFound();
    return own;
  }

  async #choose({ all, workspace: asked, ...rest }: z.infer<z.ZodObject<Omit<typeof Chosen, 'after'>>>, principal: Principal, call: Call) {
    const named = only({ ...rest, workspace: asked });
    if ((all === true) === Object.keys(named).length > 0) throw new Fault('invalid', 'Say which messages: either `all`, or any of `ids`, `workspace`, `name`, `reason` and `before`.', { reason: 'messages_unnamed' });
    return only({ ...rest, workspace: await this.#reach(principal, asked, call) });
  }

  async #look(queue: string, workspace: string | undefined) {
    const [state] = await this.#queues.inspect({ queue, ...only({ workspace }) });
    return toQueue(viewOf(state!, workspace));
  }
}

function toQueue({ pausedWorkspaces, ...view }: ReturnType<typeof viewOf>) {
  return { ...view, pausedWorkspaces: [...pausedWorkspaces] };
}

function toMessage({ history, ...message }: Awaited<ReturnType<Queues['browse']>>['messages'][number]) {
  return { ...message, history: [...history] };
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };
/** The fields that are there. */
function only<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}
