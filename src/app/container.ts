import 'reflect-metadata';
import { Container } from 'inversify';
import { Clock } from '../kernel/clock.ts';
import type { Contract } from '../kernel/contract.ts';
import { allTried, type Lifecycle, StartStop, throwAll } from '../kernel/lifecycle.ts';
import { Publisher } from '../kernel/message.ts';
import { type HttpSurface, type Injectable, Installation, type ModuleDefinition, Settings } from '../kernel/module.ts';
import { System } from '../kernel/system.ts';
import { Log, Metrics } from '../kernel/telemetry.ts';
import { Blobs } from '../ports/blob.ts';
import type { Bus, QueueSettings } from '../ports/bus.ts';
import { Channels } from '../ports/channel.ts';
import { DeadLetters } from '../ports/dead-letters.ts';
import { Hints } from '../ports/hints.ts';
import { Queues } from '../ports/queues.ts';
import { Store, type Storage } from '../ports/storage.ts';
import { BusDeadLetters } from '../fabric/dead-letters.ts';
import { InboxPruner } from '../fabric/inbox.ts';
import { Once } from '../fabric/once.ts';
import { OutboxStore } from '../fabric/outbox.ts';
import { OutboxBacklog } from '../fabric/outbox-backlog.ts';
import { OutboxRelay } from '../fabric/outbox-relay.ts';
import { type Placement, placements } from '../fabric/placements.ts';
import { BusPublisher } from '../fabric/publisher.ts';
import { type KeptDays, Retention } from '../fabric/retention.ts';
import { Subscriber } from '../fabric/subscriber.ts';
import { fabricMigrations } from '../fabric/tables.ts';
import { Target } from '../fabric/target.ts';
import type { SendingHold } from './host/sending-hold.ts';
import { queuesOf, tellUnclaimed } from './unclaimed-queues.ts';

export interface CompositionOptions {
  /** Those that run here. */
  readonly modules: readonly ModuleDefinition[];
  /** How each of them is reached by the others. */
  readonly placementOf: (module: string) => Placement;
  /** The stub of a contract whose module runs elsewhere; undefined for one that nobody offers. */
  readonly elsewhere?: <T>(contract: Contract<T>) => T | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly installation: Installation;
  readonly system: System;
  /** One database per module, by the module's name. */
  readonly openStorage: (module: string) => Storage;
  readonly bus: Bus;
  readonly outbox: OutboxSettings;
  /** Queues of modules that run elsewhere and consume from this bus: declared before anybody publishes, like those of the modules here. Left out where another host declares them. */
  readonly queuesElsewhere?: readonly QueueSettings[];
  readonly channels: Channels;
  /** Started by whoever composes, like the channels. */
  readonly blobs: Blobs;
  /** How long rows are kept; left out: the inbox's for a week, all others for good. */
  readonly retention?: KeptDays;
  /** Left out: nothing is held. */
  readonly sending?: SendingHold;
  /** Each module's section of the configuration, parsed. */
  readonly settings: Readonly<Record<string, unknown>>;
}

export interface OutboxSettings {
  /** Of what waits for the bus in each module's database; beyond it new work is refused with `exhausted`. */
  readonly maxBytes: number;
}

/** The modules of this host, wired. */
export interface Composition extends Lifecycle {
  /**
   * Takes no more messages and waits for the handlers that run, which may call any module; everything else goes on.
   * Rejects, after all have had their try, with what did not go in order. Twice does no more than once; `stop` does it too.
   */
  drain(deadlineMs: number): Promise<void>;
  /** What the modules show over HTTP, in the order of the modules. */
  readonly http: readonly HttpSurface[];
  /** The stub of a contract, as a module would have it injected. */
  contract<T>(contract: Contract<T>): T;
  /** The modules' contracts, for whoever serves them to others. */
  readonly targets: readonly Target[];
  /** What waits for a bus that takes nothing just now, and what storages do without, for people. */
  readonly problems: readonly string[];
  /** A module's part, for the host's own use: set-up, the greeting, status. */
  part<T>(module: string, part: Injectable<T>): T;
}

/** One module with all that the fabric puts around it. */
interface Placed {
  readonly definition: ModuleDefinition;
  readonly container: Container;
  readonly storage: Storage;
  readonly once: Once;
  readonly relay: OutboxRelay;
  readonly backlog: OutboxBacklog;
  readonly pruner: InboxPruner;
  readonly retention: Retention;
  readonly lifecycles: readonly Lifecycle[];
  readonly subscribers: readonly Subscriber[];
}

/**
 * Builds the modules from their definitions. Each gets a container of its own that holds its ports, the contracts
 * that it says it calls, and its own classes: what it did not ask for cannot be injected.
 */
export function compose(options: CompositionOptions): Composition {
  const targets = new Map(options.modules.map((m) => [m.contract.name, new Target(m.contract)]));
  const stubs = new Map<string, unknown>();
  const bind = <T>(contract: Contract<T>): T => {
    const target = targets.get(contract.name);
    const bound = target === undefined ? options.elsewhere?.(contract) : placements[options.placementOf(contract.name)](target, contract, options.log);
    if (bound === undefined) throw new TypeError(`No module offers the contract ${contract.name}.`);
    return bound;
  };
  const stub = <T>(contract: Contract<T>): T => {
    if (!stubs.has(contract.name)) stubs.set(contract.name, bind(contract));
    return stubs.get(contract.name) as T;
  };
  const placed = options.modules.map((definition) => place(definition, options, stub));
  const implementations = new Map(placed.map(({ definition, container, once }) => [definition, once.guard(definition.contract, container.get<object>(definition.implementation as never))]));

  options.metrics.gauge('outbox_messages', 'Messages of the modules of this host that wait for the bus in their databases.', () => placed.reduce((sum, { backlog }) => sum + backlog.messages, 0));
  options.metrics.gauge('outbox_bytes', 'Bytes of those messages.', () => placed.reduce((sum, { backlog }) => sum + backlog.bytes, 0));

  const life = new StartStop(
    () => start(placed, (definition) => targets.get(definition.contract.name)!.serve(implementations.get(definition)!), options),
    (deadlineMs) => stop(placed, targets, options.bus, deadlineMs),
  );
  return {
    http: placed.flatMap(({ definition, container }) => (definition.http === undefined ? [] : [container.get<HttpSurface>(definition.http as never)])),
    contract: stub,
    targets: [...targets.values()],
    get problems() {
      return placed.flatMap(({ relay, storage }) => [...(relay.problem === undefined ? [] : [relay.problem]), ...storage.problems]);
    },
    part: (module, part) => {
      const found = placed.find(({ definition }) => definition.name === module);
      if (found === undefined) throw new TypeError(`No module ${module} on this host.`);
      return found.container.get(part as never);
    },
    start: () => life.start(),
    drain: (deadlineMs) => allTried(placed.flatMap(({ subscribers }) => subscribers.map((subscriber) => subscriber.stop(deadlineMs)))),
    stop: (deadlineMs) => life.stop(deadlineMs),
  };
}

function place(definition: ModuleDefinition, options: CompositionOptions, stub: <T>(contract: Contract<T>) => T): Placed {
  const { clock, metrics, bus, retention: keptDays = {} } = options;
  const log = options.log.child({ module: definition.name });
  const publishes = new Set(definition.publishes.map((message) => message.name));
  const strict = options.placementOf(definition.name) === 'inline-strict';
  const storage = options.openStorage(definition.name);
  const backlog = new OutboxBacklog(definition.name, options.outbox.maxBytes);
  const relay = new OutboxRelay({ module: definition.name, storage, bus, backlog, clock, log, metrics });
  const once = new Once(storage, clock);
  const store = new OutboxStore<unknown>(storage, { module: definition.name, publishes, strict, clock, backlog, alongside: once.alongside }, relay.wake);

  const container = new Container({ defaultScope: 'Singleton' });
  container.bind(Clock).toConstantValue(clock);
  container.bind(Log).toConstantValue(log);
  container.bind(Metrics).toConstantValue(metrics);
  container.bind(Installation).toConstantValue(options.installation);
  container.bind(System).toConstantValue(options.system);
  container.bind(Channels).toConstantValue(options.channels);
  if (definition.usesBlobs === true) container.bind(Blobs).toConstantValue(options.blobs);
  container.bind(Settings).toConstantValue(options.settings[definition.name]);
  container.bind(Store).toConstantValue(store);
  container.bind(Publisher).toConstantValue(new BusPublisher({ module: definition.name, publishes, bus, outbox: store, clock }));
  // Queues hold messages of every module: only one that shows them to people has them.
  if (definition.http !== undefined) container.bind(Queues).toConstantValue(bus);
  if (definition.hears !== undefined) container.bind(Hints).toConstantValue(bus);
  container.bind(DeadLetters).toConstantValue(new BusDeadLetters(definition.name, bus));
  for (const contract of definition.calls) container.bind(contract.id).toConstantValue(stub(contract));
  for (const part of classesOf(definition)) container.bind(part as never).toSelf();

  const context = { module: definition.name, bus, store: store.forHandlers, clock, log, metrics, strict: strict || bus.capabilities.spansHosts };
  return {
    definition,
    container,
    storage,
    once,
    relay,
    backlog,
    pruner: new InboxPruner(storage, clock, log, keptDays['inbox'] ?? undefined),
    retention: new Retention({ module: definition.name, tables: definition.retention ?? [], keptDays, storage, bus, clock, log, metrics }),
    lifecycles: definition.lifecycles.map((part) => container.get<Lifecycle>(part as never)),
    subscribers: definition.subscriptions.map((s) => new Subscriber(context, s, container.get(('transactional' in s ? s.transactional : s.effect) as never))),
  };
}

function classesOf(definition: ModuleDefinition): Set<Injectable<unknown>> {
  return new Set([
    ...definition.parts,
    ...definition.lifecycles,
    definition.implementation,
    ...(definition.http === undefined ? [] : [definition.http]),
    ...definition.subscriptions.map((s) => ('transactional' in s ? s.transactional : s.effect)),
  ]);
}

async function start(placed: readonly Placed[], serve: (module: ModuleDefinition) => void, { bus, queuesElsewhere, sending, log }: CompositionOptions): Promise<void> {
  for (const { storage, definition } of placed) {
    await storage.start();
    await storage.migrate([...fabricMigrations, ...definition.migrations]);
  }
  await bus.start();
  for (const queue of queuesElsewhere ?? []) await bus.declare(queue);
  const subscribers = placed.flatMap((p) => p.subscribers);
  for (const subscriber of subscribers) await subscriber.declare();
  for (const { definition, lifecycles } of placed) {
    for (const part of lifecycles) await part.start();
    // Warm from here on: whoever calls before is told that the module is not running.
    serve(definition);
  }
  for (const { relay, pruner, retention } of placed) {
    await relay.start();
    await pruner.start();
    await retention.start();
  }
  for (const subscriber of subscribers) {
    if (subscriber.sends && sending?.held !== undefined) sending.afterRelease(() => void subscriber.start().catch((err: unknown) => log.error({ err }, 'sending could not begin; start the host again')));
    else await subscriber.start();
  }
  if (queuesElsewhere !== undefined) void tellUnclaimed(bus, new Set([...queuesElsewhere.map(({ name }) => name), ...queuesOf(placed.map(({ definition }) => definition))]), log);
}

/** In the reverse order of the start: first what takes in work, last what keeps it. Each part gets its try, whatever the others do. */
async function stop(placed: readonly Placed[], targets: ReadonlyMap<string, Target>, bus: Bus, deadlineMs: number): Promise<void> {
  const until = Date.now() + deadlineMs;
  const problems: unknown[] = [];
  const each = async (parts: readonly { stop(leftMs: number): Promise<void> }[]): Promise<void> => {
    const results = await Promise.allSettled(parts.map((part) => part.stop(Math.max(until - Date.now(), 100))));
    for (const result of results) if (result.status === 'rejected') problems.push(result.reason);
  };
  const reversed = [...placed].reverse();
  await each(placed.flatMap((p) => p.subscribers));
  for (const { lifecycles } of reversed) for (const part of [...lifecycles].reverse()) await each([part]);
  await each(placed.flatMap((p) => [p.relay, p.pruner, p.retention]));
  for (const target of targets.values()) target.withdraw();
  await each([bus]);
  await each(placed.map((p) => p.storage));
  throwAll(problems);
}
