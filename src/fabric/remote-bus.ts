import type { Clock } from '../kernel/clock.ts';
import { Fault } from '../kernel/fault.ts';
import { type Lifecycle, StartStop } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { BrowsedMessage, Bus, BusCapabilities, Consumer, Handler, HintListener, MessageFilter, Outgoing, Part, QueueFilter, QueueSettings, QueueState } from '../ports/bus.ts';
import { publishParts } from '../ports/publish-parts.ts';
import { BusCaller, notRunning } from './bus-caller.ts';
import type { BusAccess } from './bus-contract.ts';
import { RemoteHints } from './remote-hints.ts';
import { RemoteSession } from './remote-session.ts';

export interface RemoteBusOptions {
  /** Of `busContract`, bound to the host that keeps the messages. */
  readonly stub: BusAccess;
  readonly clock: Clock;
  readonly log: Log;
  /** What the way there and back may take: so much longer a stopping consumer waits to hear that all was taken back. Default 0. */
  readonly wayMs?: number;
  /** What the stub calls over, where it is this bus's alone: started before it and stopped after it. */
  readonly links?: Lifecycle;
}

const PUBLISH_MS = 10_000;
const ASK_MS = 10_000;
const PART_MS = 30_000;
/** All calls have ended. */
const LINKS_MS = 100;
/** What a stopping bus keeps of its time for the last answers. */
const CLOSING_SHARE = 0.2;

/**
 * A bus whose messages another host keeps, reached over a link like any module. `declare` and `consume` wait for that
 * host; all else fails with `unavailable` while it is away. A call of `publish` with more than 1 MB or 2,000 messages
 * is stored in parts, in order: when it fails, the first of them may be there, and repeating the call adds the rest.
 */
export class RemoteBus implements Bus {
  readonly capabilities: BusCapabilities = { spansHosts: true };
  readonly #caller: BusCaller;
  readonly #session: RemoteSession;
  readonly #hints: RemoteHints;
  readonly #life: StartStop;
  readonly #declared = new Map<string, QueueSettings>();
  readonly #stopping = new AbortController();

  constructor({ stub, clock, log, wayMs = 0, links }: RemoteBusOptions) {
    this.#caller = new BusCaller(stub, clock, log);
    this.#session = new RemoteSession(this.#caller, log, wayMs, (queue, stopped) => this.#redeclare(queue, stopped));
    this.#hints = new RemoteHints(this.#caller, log);
    this.#life = new StartStop(
      async () => {
        await links?.start();
        await this.#hints.start();
      },
      async (deadlineMs) => {
        await Promise.all([this.#session.stop(deadlineMs * (1 - CLOSING_SHARE)), this.#hints.stop()]);
        await links?.stop(LINKS_MS);
      },
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    this.#stopping.abort();
    return this.#life.stop(deadlineMs);
  }

  async declare(settings: QueueSettings): Promise<void> {
    this.#requireRunning();
    await this.#caller.persist(() => this.#declare(settings, this.#stopping.signal), this.#stopping.signal);
    this.#declared.set(settings.name, settings);
  }

  async publish(messages: readonly Outgoing[]): Promise<void> {
    this.#requireRunning();
    messages.forEach(requireTimes);
    for (const part of publishParts(messages)) await this.#caller.stub.publish({ messages: part }, this.#caller.repeatable(PUBLISH_MS)).catch(refuse);
  }

  async consume(queue: string, { concurrency }: { readonly concurrency: number }, handler: Handler): Promise<Consumer> {
    this.#requireRunning();
    return this.#session.consume(queue, concurrency, handler, this.#stopping.signal);
  }

  async inspect(which: QueueFilter = {}): Promise<QueueState[]> {
    this.#requireRunning();
    return (await this.#caller.stub.inspect({ ...which }, this.#caller.once(ASK_MS))).queues;
  }

  async browse(queue: string, { dead, filter, after, limit }: { readonly dead: boolean; readonly filter?: MessageFilter; readonly after?: string; readonly limit: number }): Promise<{ messages: BrowsedMessage[]; next: string | null }> {
    this.#requireRunning();
    const { messages, next } = await this.#caller.stub.browse({ queue, dead, limit, ...(filter === undefined ? {} : { filter: mutable(filter) }), ...(after === undefined ? {} : { after }) }, this.#caller.once(ASK_MS));
    // A host of an earlier build tells of none.
    return { messages: messages.map((message) => ({ ...message, history: message.history ?? [] })), next };
  }

  async pause(queue: string, workspace?: string): Promise<void> {
    this.#requireRunning();
    await this.#caller.stub.pause({ queue, ...(workspace === undefined ? {} : { workspace }) }, this.#caller.repeatable(ASK_MS));
  }

  async resume(queue: string, workspace?: string): Promise<void> {
    this.#requireRunning();
    await this.#caller.stub.resume({ queue, ...(workspace === undefined ? {} : { workspace }) }, this.#caller.repeatable(ASK_MS));
  }

  async requeue(queue: string, { filter, ...from }: { readonly filter: MessageFilter; readonly after?: string }): Promise<Part> {
    this.#requireRunning();
    return this.#caller.stub.requeue({ queue, filter: mutable(filter), ...from }, this.#caller.once(PART_MS));
  }

  async purge(queue: string, { filter, ...which }: { readonly dead: boolean; readonly filter: MessageFilter; readonly after?: string }): Promise<Part> {
    this.#requireRunning();
    return this.#caller.stub.purge({ queue, filter: mutable(filter), ...which }, this.#caller.once(PART_MS));
  }

  watch(topics: readonly string[], listener: HintListener): () => void {
    return this.#hints.watch(topics, listener);
  }

  async #declare(settings: QueueSettings, stopped: AbortSignal): Promise<void> {
    // Through JSON text: what JSON cannot say of a number becomes null, which the bus refuses by name.
    await this.#caller.stub.declare({ settings: JSON.parse(JSON.stringify(settings)) as never }, this.#caller.repeatable(ASK_MS, stopped));
  }

  async #redeclare(queue: string, stopped: AbortSignal): Promise<boolean> {
    const settings = this.#declared.get(queue);
    if (settings === undefined) return false;
    return this.#declare(settings, stopped).then(
      () => true,
      () => false,
    );
  }

  /** Until the consumers have drained, their handlers may still publish. */
  #requireRunning(): void {
    const { state } = this.#life;
    if (state !== 'starting' && state !== 'running' && state !== 'stopping') throw notRunning();
  }
}

/** What JSON would turn into null is said here as the bus says it. */
function requireTimes({ time, notBefore = 0 }: Outgoing): void {
  if (!Number.isSafeInteger(time) || !Number.isSafeInteger(notBefore)) throw new Fault('invalid', 'Times are whole epoch milliseconds.', { reason: 'time' });
}

/** Of a bus one cannot say when it will have taken the messages: that it has not by now is that it is not there. */
function refuse(thrown: unknown): never {
  if (!Fault.is(thrown) || thrown.code !== 'deadline') throw thrown;
  throw new Fault('unavailable', 'The host that keeps the messages did not take them in time.', { reason: 'unavailable', details: { retryAfterMs: 1_000 }, origin: thrown.origin, cause: thrown });
}

function mutable({ ids, ...filter }: MessageFilter): Omit<MessageFilter, 'ids'> & { ids?: string[] } {
  return { ...filter, ...(ids === undefined ? {} : { ids: [...ids] }) };
}
