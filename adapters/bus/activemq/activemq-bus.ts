import { setTimeout as pause } from 'node:timers/promises';
import type { DriverContext } from '../../../src/kernel/driver.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import type { Bus, BusCapabilities, BusCheck, BusContents, Consumer, Handler, HintListener, Outgoing, Part, QueueFilter, QueueSettings, QueueState } from '../../../src/ports/bus.ts';
import type { BusSharing, ServedBus } from '../../../src/ports/bus-sharing.ts';
import { publishParts } from '../../../src/ports/publish-parts.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { Attachments } from './attachments.ts';
import { fillOf } from './broker-fill.ts';
import { Connection } from './connection.ts';
import type { ActiveMqSettings } from './driver.ts';
import type { Engine } from './engine.ts';
import { Office } from './office.ts';
import { Replica } from './replica.ts';
import { BrokerTrouble } from './trouble.ts';
import { openTunnels, TunnelFinder } from './tunnel.ts';
import { Workers } from './workers.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** After a loss whoever kept the messages comes first: its copy is complete. */
const KEEPER_FIRST_MS = 2_000;
/** What a stopping bus keeps of its time for the last transaction and for closing the file. */
const CLOSING_SHARE = 0.2;

export interface ActiveMqBusOptions extends DriverContext {
  readonly settings: ActiveMqSettings;
  readonly engine: Engine;
  readonly openStorage: (name: string) => Storage;
  readonly sharing: BusSharing;
}

/** The process that keeps the messages: the engine over the copy of the log, and what serves it to the others. */
interface Keeping {
  readonly kind: 'keeper';
  readonly bus: Bus;
  readonly replica: Replica;
  readonly served: ServedBus;
  readonly workers: Workers;
}

/** Another process keeps them. */
interface Visiting {
  readonly kind: 'guest';
  readonly bus: Bus;
}

/**
 * The bus of a deployment on a broker (docs/decisions/2026-11-21-activemq-bus.md). Of the processes that share it one
 * at a time keeps the messages, by holding the office; the others reach it through the broker and wait to be next.
 */
export class ActiveMqBus implements Bus {
  readonly capabilities: BusCapabilities;
  readonly contents: BusContents;
  readonly #options: ActiveMqBusOptions;
  readonly #life: StartStop;
  readonly #stopping = new AbortController();
  readonly #attachments: Attachments;
  readonly #finder: TunnelFinder;
  readonly #trouble: BrokerTrouble;
  readonly #ready = Promise.withResolvers<void>();
  #role: Keeping | Visiting | undefined;
  #connection: Connection | undefined;
  #running: Promise<void> | undefined;
  #waiters: (() => void)[] = [];

  constructor(options: ActiveMqBusOptions) {
    const { settings, clock, log } = options;
    this.#options = options;
    this.capabilities = { spansHosts: true, maxMessageBytes: settings.maxMessageBytes };
    this.#attachments = new Attachments(log);
    this.#trouble = new BrokerTrouble(log);
    this.#finder = new TunnelFinder(settings.prefix, clock);
    this.#life = new StartStop(() => this.#start(), (deadlineMs) => this.#stop(deadlineMs));
    this.contents = this.#contents();
  }

  get problem(): string | undefined {
    if (this.#role === undefined) return this.#trouble.words ?? 'No process keeps the messages of the bus yet.';
    // A guest's would be its way to the keeper, of which the trouble speaks.
    return this.#trouble.words ?? (this.#role.kind === 'keeper' ? this.#role.bus.problem : undefined);
  }

  get kept(): Storage | undefined {
    return this.#role?.kind === 'keeper' ? this.#role.replica : undefined;
  }

  async check(): Promise<BusCheck> {
    const { settings, clock } = this.#options;
    const at = `${settings.host}:${settings.port}`;
    try {
      const connection = await Connection.open(settings, clock);
      const fill = await fillOf(connection);
      connection.close();
      if (fill === undefined) return { ok: true, detail: `${at} answers; how full it is cannot be asked (statisticsBrokerPlugin)` };
      return { ok: fill.remedy === undefined, detail: `${at} answers; ${fill.detail}`, ...(fill.remedy !== undefined && { remedy: fill.remedy }) };
    } catch (thrown) {
      return { ok: false, detail: Fault.is(thrown) ? `${at}: ${thrown.message}` : `${at} could not be asked` };
    }
  }

  /** Resolves when the messages can be reached, or after the time that a connection may take without. */
  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    if (this.#life.state === 'starting') this.#stopping.abort();
    return this.#life.stop(deadlineMs);
  }

  async declare(settings: QueueSettings): Promise<void> {
    await this.#lasting((bus) => this.#attachments.declare(bus, settings));
    if (this.#role?.kind === 'keeper') await this.#role.workers.handOut();
  }

  /** In parts, as every bus that is shared: what is one transaction here is one piece of the log, which the broker must have memory to give out. */
  async publish(messages: readonly Outgoing[]): Promise<void> {
    for (const part of publishParts(messages)) await this.#busNow().publish(part);
  }

  async consume(queue: string, { concurrency }: { readonly concurrency: number }, handler: Handler): Promise<Consumer> {
    return this.#lasting((bus) => this.#attachments.consume(bus, queue, concurrency, handler));
  }

  async inspect(which?: QueueFilter): Promise<QueueState[]> {
    return this.#busNow().inspect(which);
  }

  async browse(...asked: Parameters<Bus['browse']>): ReturnType<Bus['browse']> {
    return this.#busNow().browse(...asked);
  }

  async pause(queue: string, workspace?: string): Promise<void> {
    await this.#busNow().pause(queue, workspace);
  }

  async resume(queue: string, workspace?: string): Promise<void> {
    await this.#busNow().resume(queue, workspace);
  }

  async requeue(...asked: Parameters<Bus['requeue']>): Promise<Part> {
    return this.#busNow().requeue(...asked);
  }

  async purge(...asked: Parameters<Bus['purge']>): Promise<Part> {
    return this.#busNow().purge(...asked);
  }

  watch(topics: readonly string[], listener: HintListener): () => void {
    const end = this.#attachments.watch(this.#role?.bus, topics, listener);
    if (this.#role?.kind === 'keeper') queueMicrotask(() => this.#attachments.tellGap());
    return end;
  }

  async #start(): Promise<void> {
    this.#running = this.#run();
    const late = pause(2 * this.#options.settings.connectTimeoutMs, undefined, { signal: this.#stopping.signal, ref: false }).catch(() => {});
    await Promise.race([this.#ready.promise, late]);
  }

  async #stop(deadlineMs: number): Promise<void> {
    const role = this.#role;
    const end = performance.now() + deadlineMs;
    if (role?.kind === 'keeper') {
      role.workers.stop(deadlineMs);
      // What consumers here have under way and what others have may end at the same time.
      await Promise.all([role.served.stop(deadlineMs * (1 - CLOSING_SHARE)), role.bus.stop(deadlineMs)]);
      role.workers.close();
    } else await role?.bus.stop(deadlineMs);
    this.#stopping.abort();
    this.#wake();
    this.#connection?.close();
    await Promise.race([this.#running, pause(Math.max(100, end - performance.now()), undefined, { ref: false })]);
    // It may have come to another one in this moment.
    if (this.#role !== role) await this.#leave();
    this.#finder.close();
  }

  /** One connection after the other, for ever, with backoff and jitter in between. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { settings, clock, log } = this.#options;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const connection = await Connection.open(settings, clock, signal);
        this.#connection = connection;
        failures = 0;
        await this.#live(connection);
      } catch (thrown) {
        if (signal.aborted) return;
        this.#trouble.met(thrown);
      }
      this.#connection?.close();
      await pause(Math.min(FIRST_PAUSE_MS * 2 ** failures++, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2), undefined, { signal, ref: false }).catch(() => {});
    }
    log.debug({}, 'the bus has left its broker');
  }

  /** Until the connection ends: a guest as soon as somebody keeps the messages, the keeper as soon as nobody does. */
  async #live(connection: Connection): Promise<void> {
    const { settings, clock } = this.#options;
    const { signal } = this.#stopping;
    this.#finder.onKeeper = () => void this.#visit().catch((thrown: unknown) => this.#trouble.met(thrown));
    this.#finder.listen(connection);
    if (this.#role?.kind === 'guest') await pause(KEEPER_FIRST_MS, undefined, { signal, ref: false });
    const office = await Office.seek(connection, settings.prefix, clock, signal);
    this.#finder.onKeeper = undefined;
    await this.#keep(office);
    const close = openTunnels(connection, settings.prefix, clock, (stream) => (this.#role as Keeping).served.accept(stream));
    try {
      await (this.#role as Keeping).workers.attach(connection);
      throw await connection.lost;
    } finally {
      close();
    }
  }

  /** Not when this process has the office meanwhile, or is about to. */
  get #mayVisit(): boolean {
    return this.#role === undefined && this.#finder.onKeeper !== undefined && !this.#stopping.signal.aborted;
  }

  /** Somebody else keeps the messages. */
  async #visit(): Promise<void> {
    if (this.#role?.kind === 'keeper') await this.#leave();
    if (this.#stopping.signal.aborted) return;
    if (this.#role !== undefined) return this.#trouble.over();
    const bus = await this.#options.sharing.reach(() => this.#finder.connect());
    await bus.start();
    if (this.#mayVisit) await this.#become({ kind: 'guest', bus });
    else await bus.stop(0);
  }

  async #keep(office: Office): Promise<void> {
    if (this.#role?.kind === 'keeper' && (await this.#role.replica.resume(office))) {
      this.#trouble.over();
      return this.#attachments.moveTo(this.#role.bus);
    }
    await this.#leave();
    const { settings, engine, openStorage, sharing, ...context } = this.#options;
    let replica: Replica | undefined;
    // Not in the file of the embedded bus, whose messages may be on their way here.
    const open = (): Storage => (replica = new Replica({ storage: openStorage('bus-activemq'), engine, prefix: settings.prefix, log: context.log, office }));
    const bus = engine.create(settings, { ...context, openStorage: open });
    try {
      await bus.start();
      const workers = new Workers({ bus, settings, clock: context.clock, log: context.log });
      await this.#become({ kind: 'keeper', bus, replica: replica!, served: await sharing.serve(bus), workers });
    } catch (thrown) {
      if (this.#role?.bus !== bus) await replica?.stop(1_000);
      throw thrown;
    }
    this.#attachments.tellGap();
  }

  async #become(role: Keeping | Visiting): Promise<void> {
    this.#role = role;
    this.#trouble.over();
    this.#ready.resolve();
    this.#wake();
    await this.#attachments.moveTo(role.bus);
  }

  /** What this process did is somebody else's now, or is to be done in another way. */
  async #leave(): Promise<void> {
    const role = this.#role;
    this.#role = undefined;
    if (role?.kind === 'keeper') {
      role.workers.close();
      await role.served.stop(0);
    }
    await role?.bus.stop(0);
  }

  /** What is asked for good outlives the role in which it was asked. */
  async #lasting<T>(ask: (bus: Bus) => Promise<T>): Promise<T> {
    for (;;) {
      const bus = await this.#bus();
      try {
        const answer = await ask(bus);
        // Where that fails, whatever this process is next takes it along.
        if (this.#role !== undefined && this.#role.bus !== bus) await this.#attachments.moveTo(this.#role.bus).catch(() => {});
        return answer;
      } catch (thrown) {
        if (this.#role?.bus === bus || this.#stopping.signal.aborted) throw thrown;
      }
    }
  }

  #busNow(): Bus {
    this.#requireRunning();
    if (this.#role !== undefined) return this.#role.bus;
    throw new Fault('unavailable', 'The broker is away.', { reason: 'broker_away', origin: 'unsent', details: { retryAfterMs: 1_000 } });
  }

  #contents(): BusContents {
    const { host, port, prefix } = this.#options.settings;
    const kept = (): BusContents => {
      const { contents } = this.#busNow();
      if (contents === undefined) throw new Fault('unavailable', 'Another process keeps the messages of this bus. Stop it, and this one will.', { reason: 'other_keeper', origin: 'unsent' });
      return contents;
    };
    return {
      place: `activemq, ${host}:${port}, ${prefix}`,
      queues: async () => kept().queues(),
      read: async (queue, after) => kept().read(queue, after),
      add: async (queue, messages) => kept().add(queue, messages),
    };
  }

  /** Waits for one. */
  async #bus(): Promise<Bus> {
    for (;;) {
      this.#requireRunning();
      if (this.#role !== undefined) return this.#role.bus;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  /** Until the consumers have drained, their handlers may still publish. */
  #requireRunning(): void {
    const { state } = this.#life;
    if (!this.#stopping.signal.aborted && (state === 'starting' || state === 'running' || state === 'stopping')) return;
    throw new Fault('unavailable', 'The bus is not running.', { reason: 'stopped', origin: 'unsent' });
  }
}
