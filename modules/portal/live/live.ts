import type { ServerResponse } from 'node:http';
import { inject, injectable } from 'inversify';
import { Clock, type Timer } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import type { MessageDefinition } from '../../../src/kernel/message.ts';
import { Log, Metrics } from '../../../src/kernel/telemetry.ts';
import { Hints } from '../../../src/ports/hints.ts';
import { deliveryUpdated } from '../../notification/contract.ts';
import { eventRecorded, personChanged } from '../contract.ts';

type DeliveryUpdated = typeof deliveryUpdated extends MessageDefinition<infer P> ? P : never;

/** A delivery that has come to rest, as the stream tells it: ids and codes only. */
export interface DeliveryChange {
  readonly deliveryId: string;
  readonly personId: string;
  readonly templateId: string;
  readonly sourceId: string;
  readonly state: string;
  readonly reason: string | null;
}

/** What has changed in a workspace since the last telling. */
interface Pending {
  people: number;
  events: number;
  deliveries: DeliveryChange[];
  moreDeliveries: number;
}

interface Listener {
  readonly workspace: string;
  readonly response: ServerResponse;
  /** Whether whoever listens still may. */
  readonly mayListen: () => Promise<boolean>;
}

const GATHER_MS = 250;
const HEARTBEAT_MS = 15_000;
const MOST_LISTENERS = 500;
const MOST_PER_WORKSPACE = 100;
const MOST_DELIVERIES_AT_ONCE = 100;
/** A client that has this much unread is dropped; it comes back by itself and reads the lists anew. */
const MOST_UNREAD_BYTES = 262_144;
const TOPICS = [eventRecorded.name, personChanged.name, deliveryUpdated.name];

/**
 * Tells browsers what changes while they look (server-sent events, WHATWG HTML 9.2). Changes are gathered for a quarter
 * of a second per workspace, so that a blast costs a listener four messages a second and not a thousand. Nothing is
 * replayed: whoever connects reads the lists first. Each process hears of what happens at any of them, and asks to hear only
 * while somebody listens.
 */
@injectable()
export class Live implements Lifecycle {
  readonly #hints: Hints;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #life: StartStop;
  readonly #byWorkspace = new Map<string, Set<Listener>>();
  readonly #pending = new Map<string, Pending>();
  #listeners = 0;
  #open = false;
  #unwatch: (() => void) | undefined;
  #gather: Timer | undefined;
  #heartbeat: Timer | undefined;

  constructor(@inject(Hints) hints: Hints, @inject(Clock) clock: Clock, @inject(Log) log: Log, @inject(Metrics) metrics: Metrics) {
    this.#hints = hints;
    this.#clock = clock;
    this.#log = log;
    metrics.gauge('portal_stream_listeners', 'Open streams of live changes.', () => this.#listeners);
    this.#life = new StartStop(
      () => {
        this.#open = true;
      },
      () => this.#close(),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** Ends every stream. */
  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /** Streams to `response` until either side ends it. Fault `exhausted`/`too_many_streams`, `unavailable` when stopping. */
  listen(listener: Listener): void {
    const { workspace, response } = listener;
    if (!this.#open) throw new Fault('unavailable', 'The program is stopping.', { details: { retryAfterMs: 5_000 } });
    const group = this.#byWorkspace.get(workspace) ?? new Set();
    if (this.#listeners >= MOST_LISTENERS || group.size >= MOST_PER_WORKSPACE) {
      throw new Fault('exhausted', 'Too many streams are open. Close some, then try again.', { reason: 'too_many_streams', details: { retryAfterMs: 30_000 } });
    }
    this.#byWorkspace.set(workspace, group.add(listener));
    this.#listeners++;
    this.#unwatch ??= this.#hints.watch(TOPICS, { message: this.#heard, gap: this.#missed });
    response.on('close', () => this.#forget(listener));
    response.on('error', () => this.#forget(listener));
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8', 'X-Accel-Buffering': 'no' });
    response.write('retry: 3000\nevent: hello\ndata: {}\n\n');
    this.#heartbeat ??= this.#clock.after(HEARTBEAT_MS, this.#beat);
  }

  readonly #heard = (topic: string, workspace: string | null, payload: string): void => {
    const pending = workspace === null ? undefined : this.#pendingOf(workspace);
    if (pending === undefined) return;
    if (topic === eventRecorded.name) pending.events++;
    else if (topic === personChanged.name) pending.people++;
    else if (pending.deliveries.length < MOST_DELIVERIES_AT_ONCE) pending.deliveries.push(changeOf(JSON.parse(payload) as DeliveryUpdated));
    else pending.moreDeliveries++;
  };

  /** A hint to look again: one too many does no harm. */
  readonly #missed = (): void => {
    for (const workspace of this.#byWorkspace.keys()) {
      const pending = this.#pendingOf(workspace)!;
      pending.people++;
      pending.events++;
      pending.moreDeliveries++;
    }
  };

  #pendingOf(workspace: string): Pending | undefined {
    if (!this.#byWorkspace.has(workspace)) return undefined;
    let pending = this.#pending.get(workspace);
    if (pending === undefined) {
      pending = { people: 0, events: 0, deliveries: [], moreDeliveries: 0 };
      this.#pending.set(workspace, pending);
      this.#gather ??= this.#clock.after(GATHER_MS, this.#tell);
    }
    return pending;
  }

  readonly #tell = (): void => {
    this.#gather = undefined;
    for (const [workspace, pending] of this.#pending) {
      const text = `event: changes\ndata: ${JSON.stringify(pending)}\n\n`;
      for (const listener of this.#byWorkspace.get(workspace) ?? []) this.#write(listener, text);
    }
    this.#pending.clear();
  };

  /** Keeps proxies from closing the stream, and ends those whose session or key is worth nothing any more. */
  readonly #beat = (): void => {
    this.#heartbeat = this.#listeners === 0 ? undefined : this.#clock.after(HEARTBEAT_MS, this.#beat);
    for (const group of this.#byWorkspace.values()) {
      for (const listener of group) {
        this.#write(listener, ': still here\n\n');
        listener.mayListen().then(
          (may) => {
            if (!may) this.#end(listener);
          },
          () => this.#end(listener),
        );
      }
    }
  };

  #write(listener: Listener, text: string): void {
    if (listener.response.writableLength > MOST_UNREAD_BYTES) {
      this.#log.info({ workspace: listener.workspace }, 'A stream was dropped: its client does not read.');
      listener.response.destroy();
      this.#forget(listener);
      return;
    }
    listener.response.write(text);
  }

  #end(listener: Listener): void {
    this.#forget(listener);
    listener.response.end();
  }

  #forget(listener: Listener): void {
    const group = this.#byWorkspace.get(listener.workspace);
    if (!group?.delete(listener)) return;
    if (--this.#listeners === 0) {
      this.#unwatch?.();
      this.#unwatch = undefined;
    }
    if (group.size === 0) {
      this.#byWorkspace.delete(listener.workspace);
      this.#pending.delete(listener.workspace);
    }
  }

  #close(): void {
    this.#open = false;
    this.#gather?.cancel();
    this.#heartbeat?.cancel();
    for (const group of this.#byWorkspace.values()) for (const listener of group) this.#end(listener);
  }
}

function changeOf({ deliveryId, personId, templateId, state, reason, source }: DeliveryUpdated): DeliveryChange {
  return { deliveryId, personId, templateId, sourceId: source.id, state, reason };
}
