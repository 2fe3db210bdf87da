import type { Trace } from '../kernel/call.ts';
import type { EpochMs } from '../kernel/clock.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { Backoff, Lane } from '../kernel/message.ts';
import type { Storage } from './storage.ts';

/** A message on its way to the bus. The payload is JSON text. */
export interface Outgoing {
  /** The same id twice in one queue is stored once while the first is still there. */
  readonly id: string;
  readonly name: string;
  /** Where to: a job's queue, or an event's topic. */
  readonly to: { readonly queue: string } | { readonly topic: string };
  readonly workspace: string | null;
  /** Messages with the same key are handled one at a time, in order, on queues declared `ordered`. */
  readonly key: string | null;
  readonly lane: Lane;
  readonly time: EpochMs;
  readonly trace: Trace;
  readonly notBefore?: EpochMs;
  readonly payload: string;
}

export interface Incoming extends Omit<Outgoing, 'to'> {
  readonly queue: string;
  /** 1 at the first delivery; survives a crash of the process. */
  readonly attempt: number;
}

/** What a queue is. Declaring it again with other settings changes them; messages stay. */
export interface QueueSettings {
  readonly name: string;
  /** Events that arrive here, each a topic. A topic with no queue keeps nothing. */
  readonly topics: readonly string[];
  readonly ordered: boolean;
  /** Tries before the error queue, the first included. */
  readonly attempts: number;
  readonly backoff: Backoff;
  /** Every message becomes due this long after it was published. */
  readonly delayMs: number;
  /** Top-level payload fields that `browse` redacts. */
  readonly personal: readonly string[];
}

export type Outcome =
  | { readonly kind: 'done' }
  /** Another try after the queue's backoff (or at `notBefore`, which does not count as a try); on the last one, the error queue. */
  | { readonly kind: 'retry'; readonly reason: string; readonly notBefore?: EpochMs }
  /** To the error queue at once: trying again cannot help. */
  | { readonly kind: 'dead'; readonly reason: string }
  /**
   * Whoever handled it went away in the middle, perhaps because of it; said by who keeps messages for others, not by
   * handlers. Counts as a try and is due at once. Of such messages a queue gives out one at a time, until they finish.
   */
  | { readonly kind: 'interrupted' };

/**
 * Called for each message, at most `concurrency` at a time, always after the message is committed and never inside
 * the publisher's own call. One owner per message at a time. A throw counts as `retry`.
 */
export type Handler = (message: Incoming) => Promise<Outcome>;

export interface ConsumeOptions {
  /** Messages that it has at once, at most. */
  readonly concurrency: number;
  /** Where the handler only passes messages on: whether anybody is there to take them. Asked whenever the queue is looked at, by a bus that keeps its messages in this process. */
  readonly isAttended?: () => boolean;
}

export interface Consumer {
  /** Takes no new messages, waits for those under way (at most `deadlineMs`), gives the rest back. */
  stop(deadlineMs: number): Promise<void>;
}

export interface QueueState {
  readonly name: string;
  /** Due now and not yet taken, by lane. */
  readonly ready: Readonly<Record<Lane, number>>;
  /** Not yet due: delayed or waiting for another try. */
  readonly waiting: number;
  readonly inFlight: number;
  readonly dead: number;
  /** Age of the oldest message that is due, ms; null when there is none. */
  readonly oldestMs: number | null;
  readonly paused: boolean;
  /** Workspaces paused one by one. */
  readonly pausedWorkspaces: readonly string[];
  readonly consumers: number;
  readonly concurrency: number;
  /** False while its consumers only pass messages on and nobody is there to take them; left out: somebody is. */
  readonly isAttended?: boolean | undefined;
  readonly lastPublished: EpochMs | null;
  readonly lastTaken: EpochMs | null;
}

/** Which queues, and whose messages in them. */
export interface QueueFilter {
  readonly queue?: string;
  /**
   * Of this one alone: `ready`, `waiting`, `inFlight` and `dead`, each counted up to `MOST_COUNTED`, `oldestMs`, and
   * `pausedWorkspaces`, which names it or nobody. All else is the queue's.
   */
  readonly workspace?: string;
}

/** Counting one workspace's messages goes no further: what is more reads as this many. */
export const MOST_COUNTED = 10_000;

/** Which messages. Fields are joined by and; an empty filter is every message of the queue. */
export interface MessageFilter {
  readonly workspace?: string;
  readonly ids?: readonly string[];
  readonly name?: string;
  /** Part of the reason, as text; dead messages only. */
  readonly reason?: string;
  readonly before?: EpochMs;
}

/** Tries in a row that failed for the same reason, or staff putting the message back into its queue. */
export interface PastTries {
  readonly first: EpochMs;
  readonly last: EpochMs;
  readonly times: number;
  /** Null: it was in the error queue and was requeued. */
  readonly reason: string | null;
}

export interface BrowsedMessage {
  readonly id: string;
  readonly name: string;
  readonly workspace: string | null;
  readonly key: string | null;
  readonly lane: Lane;
  readonly time: EpochMs;
  readonly due: EpochMs;
  readonly attempts: number;
  /** Why the last try failed; null before the first failure, and after a requeue until the next. */
  readonly reason: string | null;
  /** What it has been through, the oldest first, the last ten such parts of it; tries that were put off to a time of their own among them. Survives a requeue. */
  readonly history: readonly PastTries[];
  /** JSON text; personal fields redacted. */
  readonly payload: string;
}

/** One part of what is done to many messages. */
export interface Part {
  /** Messages that it has changed. */
  readonly count: number;
  /** Where the next part begins; null when this was the last one. */
  readonly next: string | null;
}

/** A message whole, as a bus keeps it: what another one needs to go on with it. */
export interface KeptMessage extends Omit<Outgoing, 'to' | 'notBefore'> {
  readonly due: EpochMs;
  /** In the error queue. */
  readonly dead: boolean;
  /** Tries that it has had. */
  readonly attempts: number;
  /** Why the last one failed; null before the first failure. */
  readonly reason: string | null;
  readonly history: readonly PastTries[];
  /** It was cut short, perhaps because of itself: see the outcome `interrupted`. */
  readonly suspect: boolean;
}

export interface KeptPage {
  readonly messages: KeptMessage[];
  /** Where to go on, also for what is published later. A page may be empty with more to follow. */
  readonly next: string;
  /** Nothing stood behind this page when it was read. */
  readonly end: boolean;
}

/** All that a bus holds, for taking it to another one. Faults: those of the bus. */
export interface BusContents {
  /** Where the messages lie, for people and for comparing: the same for all settings that lead to the same messages. Holds no secrets. */
  readonly place: string;
  /** Every queue that was ever declared, as it was last. */
  queues(): Promise<QueueSettings[]>;
  /**
   * A page of a queue's messages in the order in which they were published, whatever they wait for, dead ones and those
   * under way included: 1 MB or 500 at most, the first message apart. Cursors are good until the bus stops.
   */
  read(queue: string, after?: string): Promise<KeptPage>;
  /**
   * Puts messages behind those of the queue, in this order; one whose id is there is passed over, so that it may be
   * repeated. Resolves when they are safely on disk; all or none of one call, which holds as much as a page.
   */
  add(queue: string, messages: readonly KeptMessage[]): Promise<void>;
}

/** Told of events as they are published, for what may be forgotten and rebuilt: caches, screens. */
export interface HintListener {
  /** The payload is JSON text. Called after the commit, in the publisher's turn: short, and a throw is only logged. */
  message(topic: string, workspace: string | null, payload: string): void;
  /** Events may have been missed; also said once the watching begins where the messages are kept elsewhere. */
  gap(): void;
}

/** How messages look to programs of other languages, for the documents that describe them. A driver without a wire has none. */
export interface BusWire {
  /** As AsyncAPI names it, e.g. `stomp`. */
  readonly protocol: string;
  /** `host:port` as configured. */
  readonly host: string;
  /** The address that messages for a queue are sent to. */
  queue(name: string): string;
  /** The address that an event is published to. */
  topic(name: string): string;
  /** JSON Schema (draft 7) of the headers of what is sent in. */
  readonly headers: Readonly<Record<string, unknown>>;
  /** How programs take messages from their queues. */
  readonly work: {
    /** The address that a queue's messages are handed out at. */
    address(queue: string): string;
    readonly headers: Readonly<Record<string, unknown>>;
    /** Where they say what has become of one. */
    readonly answers: WireChannel;
    /** Where what was sent in and could not be taken lies. */
    readonly refused: WireChannel;
  };
}

export interface WireChannel {
  readonly address: string;
  /** JSON Schema (draft 7). */
  readonly headers: Readonly<Record<string, unknown>>;
}

export interface BusCapabilities {
  readonly spansHosts: boolean;
  /** Bytes of one payload as UTF-8, where there is a limit. */
  readonly maxMessageBytes?: number;
}

/** What a bus stands on, for people. */
export interface BusCheck {
  readonly ok: boolean;
  readonly detail: string;
  /** What to do, where that is more than to start it and to correct how it is reached. */
  readonly remedy?: string;
}

/**
 * Durable messages, at least once. Faults: `exhausted` (backlog at its limit or disk full; details.retryAfterMs),
 * `unavailable`, `not_found` (queue), `invalid` (payload larger than `maxBytes`, `cursor_invalid`).
 */
export interface Bus extends Lifecycle {
  readonly capabilities: BusCapabilities;
  /** Why the messages cannot be reached or no more are taken just now, for people and without addresses; undefined while all is well. Left out by a driver that depends on nothing. */
  readonly problem?: string | undefined;
  /** Looks, without a start, whether what it depends on is there: for people. Left out by a driver that depends on nothing. */
  check?(): Promise<BusCheck>;
  /** Left out where the messages are kept by another process. Usable while the bus runs; `place` always. */
  readonly contents?: BusContents;
  /**
   * The database in which this process keeps the messages just now, for a backup: its tables are those of the embedded bus,
   * and a snapshot of it is refused (`unavailable`) unless it has every message that was accepted. Undefined while another process keeps them.
   */
  readonly kept?: Storage | undefined;
  /** Before `publish` and `consume`; durable, so that a subscriber that is away misses nothing. Idempotent. */
  declare(queue: QueueSettings): Promise<void>;
  /** Resolves when all of them are safely on disk; all or none of one call. */
  publish(messages: readonly Outgoing[]): Promise<void>;
  consume(queue: string, options: ConsumeOptions, handler: Handler): Promise<Consumer>;
  /** Every queue, or the one that is named. */
  inspect(which?: QueueFilter): Promise<QueueState[]>;
  browse(queue: string, which: { readonly dead: boolean; readonly filter?: MessageFilter; readonly after?: string; readonly limit: number }): Promise<{ messages: BrowsedMessage[]; next: string | null }>;
  /** Survives a restart. Messages under way finish. */
  pause(queue: string, workspace?: string): Promise<void>;
  resume(queue: string, workspace?: string): Promise<void>;
  /**
   * Dead messages back into their queue with their tries counted anew, which their history notes: a part of them, a second's work at most, so that
   * whoever asks can tell how far it is, and stop. The next call goes on `after` the `next` of this one, with the same
   * filter; see `inParts`. A message that dies again meanwhile is not taken up twice.
   */
  requeue(queue: string, which: { readonly filter: MessageFilter; readonly after?: string }): Promise<Part>;
  /** Deletes for good, in parts as `requeue` does; messages under way stay. */
  purge(queue: string, which: { readonly dead: boolean; readonly filter: MessageFilter; readonly after?: string }): Promise<Part>;
  /**
   * Hints of every event published to these topics from now on, on whatever host: not durable, at most once each unless
   * it was published twice. May be called before the start. Answers what ends it.
   */
  watch(topics: readonly string[], listener: HintListener): () => void;
}
export const Bus = Symbol.for('multilith.Bus');
