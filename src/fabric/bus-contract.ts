import { z } from 'zod';
import type { Call } from '../kernel/call.ts';
import { command, contract, query } from '../kernel/contract.ts';
import { AnyJson } from '../kernel/json-schema.ts';
import { LANES } from '../kernel/message.ts';

/** Longer than what a take or a look for hints waits, so that an answer is always on its way before. Also what looks through many messages. */
const LONG_POLL_MS = 30_000;
const SHORT_MS = 10_000;
/** For waiting until what is under way has finished. */
const RELEASE_MS = 300_000;

const Nothing = z.object({});
const Trace = z.object({ traceId: z.string(), spanId: z.string() });
const fields = { id: z.string(), name: z.string(), workspace: z.string().nullable(), key: z.string().nullable(), time: z.number(), trace: Trace, payload: z.string() };

/** Lane and times as the sender has them: the bus itself says what is wrong with them. */
const OutgoingMessage = z.object({ ...fields, to: z.union([z.object({ queue: z.string() }), z.object({ topic: z.string() })]), lane: z.string(), notBefore: z.number().optional() });
const IncomingMessage = z.object({ ...fields, queue: z.string(), lane: z.enum(LANES), attempt: z.number(), notBefore: z.number().optional() });

const Ending = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('done') }),
  z.object({ kind: z.literal('retry'), reason: z.string(), notBefore: z.number().optional() }),
  z.object({ kind: z.literal('dead'), reason: z.string() }),
  z.object({ kind: z.literal('interrupted') }),
  /** Its handler was not called. */
  z.object({ kind: z.literal('untried') }),
]);

const Filter = z.object({ workspace: z.string().optional(), ids: z.array(z.string()).optional(), name: z.string().optional(), reason: z.string().optional(), before: z.number().optional() });

const Consume = z.object({
  /** Chosen by the caller: all that one process consumes belongs to it, until it is lost and another one begins. */
  session: z.string().min(1).max(64),
  /** The session is to begin with this consumer; else it must be there. */
  begins: z.boolean(),
  consumer: z.string().min(1).max(64),
  queue: z.string(),
  concurrency: z.number(),
});
const Take = z.object({
  session: z.string(),
  /** The number of the last answer that arrived, 0 before the first: what that one held has arrived, too. */
  after: z.int().min(0),
});
const Taken = z.object({
  batch: z.int(),
  messages: z.array(z.object({ delivery: z.int(), consumer: z.string(), message: IncomingMessage })),
});
const Settle = z.object({ session: z.string(), outcomes: z.array(z.object({ delivery: z.int(), outcome: Ending })) });
const Release = z.object({ session: z.string(), consumer: z.string(), deadlineMs: z.number().min(0) });

const QueueStates = z.object({
  queues: z.array(
    z.object({
      name: z.string(), ready: z.object({ urgent: z.number(), normal: z.number(), bulk: z.number() }), waiting: z.number(), inFlight: z.number(), dead: z.number(),
      oldestMs: z.number().nullable(), paused: z.boolean(), pausedWorkspaces: z.array(z.string()), consumers: z.number(), concurrency: z.number(), isAttended: z.boolean().optional(),
      lastPublished: z.number().nullable(), lastTaken: z.number().nullable(),
    }),
  ),
});
const Browse = z.object({ queue: z.string(), dead: z.boolean(), filter: Filter.optional(), after: z.string().optional(), limit: z.number() });
const PastTries = z.object({ first: z.number(), last: z.number(), times: z.number(), reason: z.string().nullable() });
const Browsed = z.object({
  messages: z.array(
    z.object({
      id: z.string(), name: z.string(), workspace: z.string().nullable(), key: z.string().nullable(), lane: z.enum(LANES), time: z.number(), due: z.number(),
      attempts: z.number(), reason: z.string().nullable(), history: z.array(PastTries).optional(), payload: z.string(),
    }),
  ),
  next: z.string().nullable(),
});
const Pause = z.object({ queue: z.string(), workspace: z.string().optional() });
const Inspect = z.object({ queue: z.string().optional(), workspace: z.string().optional() });
const Requeue = z.object({ queue: z.string(), filter: Filter, after: z.string().optional() });
const Purge = z.object({ queue: z.string(), dead: z.boolean(), filter: Filter, after: z.string().optional() });
const Part = z.object({ count: z.number(), next: z.string().nullable() });

const Watch = z.object({ watcher: z.string().min(1).max(64), topics: z.array(z.string().max(255)).max(10_000) });
const Hints = z.object({
  /** Some may have been missed; said once when the watcher is new here. */
  gap: z.boolean(),
  hints: z.array(z.object({ topic: z.string(), workspace: z.string().nullable(), payload: z.string() })),
});

/**
 * What processes without messages of their own ask of the host that keeps them (docs/decisions/2026-11-21-embedded-bus-over-links.md).
 * Requests that a session belongs to fail with `not_found`/`session_lost` once it is closed: what it held has gone
 * back to its queues, and outcomes that come later are dropped.
 */
export interface BusAccess {
  /** Idempotent. The settings are those of the bus port, which says itself what is wrong with them. */
  declare(request: { settings: z.infer<typeof AnyJson> }, call: Call): Promise<z.infer<typeof Nothing>>;
  /** Repeatable: while a message is there, its id is stored once; later, inboxes know it. */
  publish(request: z.infer<typeof Publish>, call: Call): Promise<z.infer<typeof Nothing>>;
  /** Opens one consumer; repeatable. A session that is not asked for messages for 5 s is closed. */
  consume(request: z.infer<typeof Consume>, call: Call): Promise<z.infer<typeof Nothing>>;
  /** The next messages, as soon as there are any; nothing after 20 s. One at a time: a later one ends it. Repeatable. */
  take(request: z.infer<typeof Take>, call: Call): Promise<z.infer<typeof Taken>>;
  /** What became of messages. Repeatable; of one delivery the first counts. */
  settle(request: z.infer<typeof Settle>, call: Call): Promise<z.infer<typeof Nothing>>;
  /** Ends one consumer: nothing new, then waits for the outcomes of what is under way, and gives the rest back. */
  release(request: z.infer<typeof Release>, call: Call): Promise<z.infer<typeof Nothing>>;
  inspect(request: z.infer<typeof Inspect>, call: Call): Promise<z.infer<typeof QueueStates>>;
  browse(request: z.infer<typeof Browse>, call: Call): Promise<z.infer<typeof Browsed>>;
  pause(request: z.infer<typeof Pause>, call: Call): Promise<z.infer<typeof Nothing>>;
  resume(request: z.infer<typeof Pause>, call: Call): Promise<z.infer<typeof Nothing>>;
  requeue(request: z.infer<typeof Requeue>, call: Call): Promise<z.infer<typeof Part>>;
  purge(request: z.infer<typeof Purge>, call: Call): Promise<z.infer<typeof Part>>;
  /** The next hints, as soon as there are any; nothing after 20 s. Not repeatable: a lost answer is a gap. */
  watch(request: z.infer<typeof Watch>, call: Call): Promise<z.infer<typeof Hints>>;
}
const Publish = z.object({ messages: z.array(OutgoingMessage) });

export type Taken = z.infer<typeof Taken>;
export type Ending = z.infer<typeof Ending>;
export type Hints = z.infer<typeof Hints>;

/** What the bus and the storage under it may answer, beside what any call may. */
const FAULTS = [
  'stopped', 'overload', 'backlog', 'disk_full', 'queue_not_found', 'queue_settings', 'too_many', 'too_large', 'unstorable_text', 'lane', 'time',
  'concurrency', 'limit', 'cursor_invalid', 'session_lost', 'too_many_sessions', 'too_many_ids',
  'queue_moving', 'move_undecided',
  'locked', 'memory', 'storage', 'transaction_timeout', 'transactions_waiting',
];

export const busContract = contract<BusAccess>('bus', {
  declare: command({ input: z.object({ settings: AnyJson }), output: Nothing, timeoutMs: SHORT_MS, faults: FAULTS }),
  publish: command({ input: Publish, output: Nothing, timeoutMs: SHORT_MS, faults: FAULTS }),
  consume: command({ input: Consume, output: Nothing, timeoutMs: SHORT_MS, faults: FAULTS }),
  take: query({ input: Take, output: Taken, timeoutMs: LONG_POLL_MS, faults: FAULTS }),
  settle: command({ input: Settle, output: Nothing, timeoutMs: SHORT_MS, faults: FAULTS }),
  release: command({ input: Release, output: Nothing, timeoutMs: RELEASE_MS, faults: FAULTS }),
  inspect: query({ input: Inspect, output: QueueStates, timeoutMs: SHORT_MS, faults: FAULTS }),
  browse: query({ input: Browse, output: Browsed, timeoutMs: LONG_POLL_MS, faults: FAULTS }),
  pause: command({ input: Pause, output: Nothing, timeoutMs: SHORT_MS, faults: FAULTS }),
  resume: command({ input: Pause, output: Nothing, timeoutMs: SHORT_MS, faults: FAULTS }),
  requeue: command({ input: Requeue, output: Part, timeoutMs: LONG_POLL_MS, faults: FAULTS }),
  purge: command({ input: Purge, output: Part, timeoutMs: LONG_POLL_MS, faults: FAULTS }),
  watch: command({ input: Watch, output: Hints, timeoutMs: LONG_POLL_MS, faults: FAULTS }),
});
