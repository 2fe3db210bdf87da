import { queueName, queueSettings } from '../../fabric/envelope.ts';
import type { Descriptor } from '../../kernel/contract.ts';
import type { MessageDefinition } from '../../kernel/message.ts';
import type { ModuleDefinition } from '../../kernel/module.ts';
import type { Config } from '../config/config.ts';
import { isOnThread, REACH, viaBetween } from '../config/placement.ts';
import { probe, type Parts } from '../config/parts.ts';
import type { Problem } from '../config/problem.ts';
import type { Tree } from '../config/tree.ts';

export interface PlannedHost {
  readonly name: string;
  readonly modules: readonly string[];
  readonly listen: string | null;
  /** Where others reach its processes. */
  readonly addresses: readonly string[];
  readonly replicas: number;
  /** Whether it keeps the messages for all. */
  readonly keepsMessages: boolean;
}

export interface PlannedModule {
  readonly name: string;
  readonly host: string;
  readonly storage: string;
  /** The databases in the host's data directory that are its own, without `.sqlite`: its storage, and channels that keep mails. */
  readonly databases: readonly string[];
  /** Changes when, and only when, what goes over the wire does. */
  readonly contract: string;
  readonly operations: number;
}

export interface PlannedOperation {
  readonly method: string;
  readonly kind: 'query' | 'command';
  readonly timeoutMs: number;
  /** Null for what is never cached. Used only where the call leaves the process. */
  readonly cacheTtlMs: number | null;
}

/** One module that calls another. */
export interface PlannedEdge {
  readonly from: string;
  readonly to: string;
  readonly via: string;
  readonly crossesHosts: boolean;
  /** Null without a cache in front. */
  readonly cacheEntries: number | null;
  /** The second tier by its name; null without one. */
  readonly cacheShared: string | null;
  readonly operations: readonly PlannedOperation[];
}

/** One message and who gets it. */
export interface PlannedMessage {
  readonly message: string;
  readonly kind: 'event' | 'job';
  readonly from: readonly string[];
  readonly to: string | null;
  readonly queue: string | null;
  readonly ordered: boolean;
  readonly attempts: number;
  readonly concurrency: number | null;
  /** Modules whose every process is told of it as it is published, without a queue. */
  readonly heardBy: readonly string[];
}

/** What a configuration comes to, before anything starts. */
export interface Plan {
  readonly topology: string;
  readonly hosts: readonly PlannedHost[];
  readonly modules: readonly PlannedModule[];
  readonly calls: readonly PlannedEdge[];
  readonly messages: readonly PlannedMessage[];
  /** Every setting, defaults included, secrets redacted. */
  readonly settings: Tree;
  readonly findings: readonly Problem[];
}

export function planOf(config: Config, parts: Parts): Plan {
  const hostOf = new Map(Object.entries(config.hosts).flatMap(([host, { modules }]) => modules.map((module) => [module, host] as const)));
  const calls = parts.modules.flatMap((module) => edgesOf(module, config, hostOf));
  const messages = messagesOf(parts.modules);
  return {
    topology: config.topology,
    hosts: Object.entries(config.hosts).map(([name, { modules, listen, addresses, replicas }]) => ({ name, modules, listen: listen ?? null, addresses: addresses ?? (listen === undefined ? [] : [listen]), replicas, keepsMessages: config.bus.host === name })),
    modules: parts.modules.map(({ name, contract, usesChannels }) => ({ name, host: hostOf.get(name)!, storage: config.storage[name]!.driver, databases: databasesOf(name, usesChannels === true, config), contract: contract.hash, operations: Object.keys(contract.operations).length })),
    calls,
    messages,
    settings: config.shown,
    findings: [...findUnserved(parts.modules), ...findCycles(calls), ...findChatty(calls), ...findLoose(messages), ...findLocalLinks(config), ...findLocalFiles(config, parts)],
  };
}

function databasesOf(module: string, usesChannels: boolean, { storage, channels }: Config): string[] {
  const kept = usesChannels ? Object.keys(channels).filter((name) => channels[name]!.driver === 'outbox').map((name) => `${name}-outbox`) : [];
  return [...(storage[module]!.driver === 'sqlite' ? [module] : []), ...kept];
}

function edgesOf({ name: from, calls }: ModuleDefinition, config: Config, hostOf: ReadonlyMap<string, string>): PlannedEdge[] {
  return calls.map(({ name: to, operations }) => ({
    from,
    to,
    via: viaBetween(from, to, config),
    crossesHosts: hostOf.has(to) && hostOf.get(from) !== hostOf.get(to),
    ...cacheOf(from, to, config),
    operations: Object.entries<Descriptor>(operations).map(([method, one]) => ({ method, kind: one.kind, timeoutMs: one.timeoutMs, cacheTtlMs: one.kind === 'query' ? (one.cache?.ttlMs ?? null) : null })),
  }));
}

/** Only calls that leave the process are cached. */
function cacheOf(from: string, to: string, config: Config): Pick<PlannedEdge, 'cacheEntries' | 'cacheShared'> {
  const cache = REACH[viaBetween(from, to, config)] === 'network' || isOnThread(to, config) ? config.calls[to]?.cache : undefined;
  return { cacheEntries: cache?.entries ?? null, cacheShared: cache?.shared ?? null };
}

function messagesOf(modules: readonly ModuleDefinition[]): PlannedMessage[] {
  const all = new Map<string, MessageDefinition<unknown>>();
  for (const { publishes, subscriptions } of modules) for (const message of [...publishes, ...subscriptions.map((one) => one.message)]) all.set(message.name, message);
  return [...all.values()].flatMap((definition): PlannedMessage[] => {
    const { name: message, kind } = definition;
    const from = modules.filter(({ publishes }) => publishes.some((one) => one.name === message)).map(({ name }) => name);
    const { ordered, attempts } = queueSettings(definition, '');
    const heardBy = modules.filter(({ hears }) => hears?.some((one) => one.name === message)).map(({ name }) => name);
    const common = { message, kind, from, ordered, attempts, heardBy };
    const subscribers = modules.flatMap(({ name: to, subscriptions }) => subscriptions.filter((one) => one.message.name === message).map(({ concurrency }) => ({ ...common, to, queue: queueName(definition, to), concurrency })));
    return subscribers.length > 0 ? subscribers : [{ ...common, to: null, queue: null, concurrency: null }];
  });
}

function findUnserved(modules: readonly ModuleDefinition[]): Problem[] {
  const offered = new Set(modules.map(({ contract }) => contract.name));
  return modules.flatMap(({ name, calls }) => calls.filter((contract) => !offered.has(contract.name)).map((contract): Problem => ({ severity: 'error', path: `${name} → ${contract.name}`, expected: 'no module of this build offers that contract' })));
}

/** Modules that wait for each other: fine as long as every wait on the way has an end. */
function findCycles(calls: readonly PlannedEdge[]): Problem[] {
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
    calls.some((edge) => edge.from === from && (edge.to === to || (!seen.has(edge.to) && reaches(edge.to, to, seen.add(edge.to)))));
  return calls
    .filter(({ from, to }) => reaches(to, from))
    .flatMap(({ from, to, operations }) =>
      operations
        .filter(({ timeoutMs }) => !Number.isFinite(timeoutMs) || timeoutMs <= 0)
        .map(({ method }): Problem => ({ severity: 'error', path: `${from} → ${to}.${method}`, expected: 'this call is part of a cycle and has no deadline: two modules could wait for each other for ever' })),
    );
}

/** Questions that are asked again and again over the network though the answers could be kept. */
function findChatty(calls: readonly PlannedEdge[]): Problem[] {
  return calls
    .filter(({ crossesHosts, cacheEntries, operations }) => crossesHosts && cacheEntries === null && operations.some(({ cacheTtlMs }) => cacheTtlMs !== null))
    .map(({ from, to, operations }): Problem => {
      const methods = operations.filter(({ cacheTtlMs }) => cacheTtlMs !== null).map(({ method }) => method);
      return { severity: 'warning', path: `${from} → ${to}`, expected: `asks ${methods.join(' and ')} over the network each time; a cache in front saves most of it: calls: { ${to}: { cache: { entries: 10_000 } } }` };
    });
}

/** Messages that nobody publishes or nobody receives: legal, seldom meant. */
function findLoose(messages: readonly PlannedMessage[]): Problem[] {
  const warning = (path: string, expected: string): Problem => ({ severity: 'warning', path, expected });
  return messages.flatMap(({ message, kind, from, to }) => {
    if (from.length === 0) return [warning(message, `${to} waits for it, and no module publishes it`)];
    return kind === 'job' && to === null ? [warning(message, `${from.join(' and ')} publishes it, and no module works on it`)] : [];
  });
}

/** Mails that leave the house with links that nobody outside can open: a recipient could not unsubscribe. */
function findLocalLinks({ publicUrlGiven, channels }: Config): Problem[] {
  if (publicUrlGiven || Object.values(channels).every(({ driver }) => driver === 'outbox')) return [];
  return [{ severity: 'warning', path: 'publicUrl', expected: 'mails leave the house, and their unsubscribe links lead to this machine alone; give the address that recipients reach it at, e.g. MULTILITH_PUBLIC_URL=https://mail.agency.example' }];
}

/** Files of several processes that each may have to itself. */
function findLocalFiles({ hosts, blobs: { driver, settings } }: Config, parts: Parts): Problem[] {
  const isShared = Object.values(hosts).some(({ modules, replicas }) => replicas > 1 && parts.modules.some(({ name, usesBlobs }) => usesBlobs && modules.includes(name)));
  if (!isShared || parts.blob[driver]!.create(settings, probe('.')).spansHosts) return [];
  return [{ severity: 'warning', path: 'blobs', expected: `${driver} keeps files in a folder, and exports can be fetched from those processes alone that share it: put it where all of them reach it (blobs.directory), or take s3` }];
}
