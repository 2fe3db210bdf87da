import type { Call } from '../kernel/call.ts';
import type { Clock, EpochMs, Timer } from '../kernel/clock.ts';
import { Fault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Bus, Outgoing, QueueSettings } from '../ports/bus.ts';
import type { BusAccess } from './bus-contract.ts';
import { BusSession, sessionLost } from './bus-session.ts';
import { BusWatcher } from './bus-watcher.ts';

export interface BusServiceOptions {
  /** Started and stopped by whoever made it: before this, and after it. */
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Log;
  /** A session that nobody asks for messages for so long is closed. Default 5 s. */
  readonly silentMs?: number;
}

/** How long a take or a look for hints waits for something to answer. */
const POLL_MS = 20_000;
/** What the answer needs of the caller's own time. */
const WAY_BACK_MS = 1_000;
const SILENT_MS = 5_000;
const MOST_SESSIONS = 1_000;
const MOST_WATCHERS = 1_000;

type Requests = { readonly [K in keyof BusAccess]: Parameters<BusAccess[K]>[0] };

/** Lets other processes publish to and consume from the bus of this one: the implementation of the contract `bus`. */
export class BusService implements BusAccess {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #silentMs: number;
  readonly #sessions = new Map<string, BusSession>();
  readonly #watchers = new Map<string, BusWatcher>();
  #sweep: { readonly due: EpochMs; readonly timer: Timer } | undefined;
  #stopping = false;

  constructor({ bus, clock, log, silentMs = SILENT_MS }: BusServiceOptions) {
    this.#bus = bus;
    this.#clock = clock;
    this.#log = log;
    this.#silentMs = silentMs;
  }

  /** Processes that consume here now. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Hands out nothing more, waits for what is under way elsewhere, then gives the rest back. Before the links close. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    await Promise.all([...this.#sessions.values()].map((session) => session.drain(deadlineMs)));
    this.#sessions.clear();
    this.#sweep?.timer.cancel();
  }

  async declare({ settings }: Requests['declare']): Promise<Record<string, never>> {
    this.#requireRunning();
    await this.#bus.declare(settings as unknown as QueueSettings);
    return {};
  }

  async publish({ messages }: Requests['publish']): Promise<Record<string, never>> {
    await this.#bus.publish(messages as Outgoing[]);
    return {};
  }

  async consume({ session: id, begins, consumer, queue, concurrency }: Requests['consume']): Promise<Record<string, never>> {
    this.#requireRunning();
    let session = this.#sessions.get(id);
    if (session === undefined) {
      if (!begins) throw sessionLost();
      if (this.#sessions.size >= MOST_SESSIONS) throw new Fault('exhausted', `${MOST_SESSIONS} processes consume from this bus; it takes no more.`, { reason: 'too_many_sessions', details: { retryAfterMs: 5_000 } });
      session = new BusSession(this.#bus, this.#clock);
      this.#sessions.set(id, session);
      this.#watchOver();
    }
    try {
      await session.consume(consumer, queue, concurrency);
    } finally {
      await this.#forgetEmpty(id, session);
    }
    return {};
  }

  async take({ session, after }: Requests['take'], call: Call): ReturnType<BusAccess['take']> {
    this.#requireRunning();
    return this.#session(session).take(after, this.#pollUntil(call), () => call.signal);
  }

  async settle({ session, outcomes }: Requests['settle']): Promise<Record<string, never>> {
    this.#session(session).settle(outcomes);
    return {};
  }

  async release({ session: id, consumer, deadlineMs }: Requests['release']): Promise<Record<string, never>> {
    const session = this.#session(id);
    await session.release(consumer, deadlineMs);
    await this.#forgetEmpty(id, session);
    return {};
  }

  async inspect(which: Requests['inspect']): ReturnType<BusAccess['inspect']> {
    return { queues: (await this.#bus.inspect(which as object)) as Awaited<ReturnType<BusAccess['inspect']>>['queues'] };
  }

  async browse({ queue, filter, after, ...which }: Requests['browse']): ReturnType<BusAccess['browse']> {
    const page = await this.#bus.browse(queue, { ...which, ...(filter === undefined ? {} : { filter: filter as object }), ...(after === undefined ? {} : { after }) });
    return page as Awaited<ReturnType<BusAccess['browse']>>;
  }

  async pause({ queue, workspace }: Requests['pause']): Promise<Record<string, never>> {
    await this.#bus.pause(queue, workspace);
    return {};
  }

  async resume({ queue, workspace }: Requests['resume']): Promise<Record<string, never>> {
    await this.#bus.resume(queue, workspace);
    return {};
  }

  requeue({ queue, filter, after }: Requests['requeue']): ReturnType<BusAccess['requeue']> {
    return this.#bus.requeue(queue, { filter: filter as object, ...(after === undefined ? {} : { after }) });
  }

  purge({ queue, dead, filter, after }: Requests['purge']): ReturnType<BusAccess['purge']> {
    return this.#bus.purge(queue, { dead, filter: filter as object, ...(after === undefined ? {} : { after }) });
  }

  async watch({ watcher: id, topics }: Requests['watch'], call: Call): ReturnType<BusAccess['watch']> {
    this.#requireRunning();
    let watcher = this.#watchers.get(id);
    if (watcher === undefined || !watcher.watches(topics)) {
      watcher?.close();
      if (this.#watchers.size >= MOST_WATCHERS) throw new Fault('exhausted', `${MOST_WATCHERS} processes watch this bus; it takes no more.`, { reason: 'too_many_sessions', details: { retryAfterMs: 5_000 } });
      watcher = new BusWatcher(this.#bus, this.#clock, topics);
      this.#watchers.set(id, watcher);
      this.#watchOver();
    }
    return watcher.next(this.#pollUntil(call), () => call.signal);
  }

  #session(id: string): BusSession {
    const session = this.#sessions.get(id);
    if (session === undefined) throw sessionLost();
    return session;
  }

  async #forgetEmpty(id: string, session: BusSession): Promise<void> {
    if (session.consumers > 0 || this.#sessions.get(id) !== session) return;
    this.#sessions.delete(id);
    await session.close();
  }

  #pollUntil(call: Call): EpochMs {
    return Math.min(this.#clock.now() + POLL_MS, call.deadline - WAY_BACK_MS);
  }

  #requireRunning(): void {
    if (this.#stopping) throw new Fault('unavailable', 'The bus is stopping.', { reason: 'stopped', origin: 'unsent' });
  }

  /** One timer for all, while there are any. */
  #watchOver(): void {
    if (this.#sweep !== undefined || this.#stopping || this.#sessions.size + this.#watchers.size === 0) return;
    const due = this.#clock.now() + this.#silentMs / 5;
    const timer = this.#clock.at(due, () => {
      this.#sweep = undefined;
      this.#closeSilent(this.#clock.now() - due);
      this.#watchOver();
    });
    this.#sweep = { due, timer };
  }

  #closeSilent(lateMs: number): void {
    const now = this.#clock.now();
    // A process that was frozen itself, or whose clock was set, has not heard what lies in its sockets.
    const wasAway = lateMs > this.#silentMs / 5;
    for (const [id, session] of this.#sessions) {
      if (wasAway) session.silentSince = Math.max(session.silentSince, now);
      if (now - session.silentSince < this.#silentMs) continue;
      this.#sessions.delete(id);
      this.#log.warn({ session: id, consumers: session.consumers, silentMs: now - session.silentSince }, 'a process that consumes has fallen silent; its messages go back to their queues');
      session.close().catch((err: unknown) => this.#log.error({ session: id, err }, 'a silent session did not close'));
    }
    for (const [id, watcher] of this.#watchers) {
      if (wasAway) watcher.silentSince = Math.max(watcher.silentSince, now);
      if (now - watcher.silentSince < this.#silentMs) continue;
      this.#watchers.delete(id);
      watcher.close();
    }
  }
}

