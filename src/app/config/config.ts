import { resolve } from 'node:path';
import type { z } from 'zod';
import type { ModuleDefinition } from '../../kernel/module.ts';
import { check, reject, type Checking } from './check.ts';
import { environmentLayers } from './environment.ts';
import { fileLayers, joinLayers, setLayers } from './layers.ts';
import { parseListen, urlOf, type ListenAddress } from './listen.ts';
import { type Catalog, type Chosen, type Parts, probe } from './parts.ts';
import { ConfigError, type Problem } from './problem.ts';
import { ConfigSchema, type ConfigShape } from './schema.ts';
import { resolveSecrets } from './secrets.ts';
import { didYouMean } from './suggest.ts';
import { checkTopology } from './topology.ts';
import type { Tree, Value } from './tree.ts';

export interface HostConfig {
  readonly modules: readonly string[];
  readonly listen?: string;
  /** Where others reach its processes. */
  readonly addresses?: readonly string[];
  readonly replicas: number;
}

/** A configuration that has been checked. */
export interface Config {
  /** The topology as it was asked for, e.g. `default`. */
  readonly topology: string;
  /** Absolute. */
  readonly dataDir: string;
  readonly publicUrl: string;
  /** False when `publicUrl` was made from `http.listen`. */
  readonly publicUrlGiven: boolean;
  readonly http: Omit<ConfigShape['http'], 'listen'> & { readonly listen: ListenAddress };
  readonly hosts: Readonly<Record<string, HostConfig>>;
  readonly calls: ConfigShape['calls'];
  readonly peers: ConfigShape['peers'];
  readonly threads: ConfigShape['threads'];
  readonly registry: Chosen;
  readonly caches: Readonly<Record<string, Chosen>>;
  /** By module. */
  readonly storage: Readonly<Record<string, Chosen>>;
  /** `host`: the one that keeps the messages; null for a bus that every host reaches. */
  readonly bus: Chosen & { readonly host: string | null };
  readonly channels: Readonly<Record<string, Chosen>>;
  readonly blobs: Chosen;
  /** Each module's settings as its own schema parsed them. */
  readonly modules: Readonly<Record<string, unknown>>;
  readonly retention: ConfigShape['retention'];
  readonly log: ConfigShape['log'];
  readonly outbox: ConfigShape['outbox'];
  readonly shutdown: ConfigShape['shutdown'];
  /** All of it, defaults included, as text may show it: secrets redacted. */
  readonly shown: Tree;
}

export interface ConfigSources {
  /** Default: the variable MULTILITH_TOPOLOGY, then `default`. */
  readonly topology?: string | undefined;
  /** What a person gave `topology` with, for the problems with it. Default: `--topology`. */
  readonly topologyOption?: string;
  /** `path=value`, each on top of everything else. */
  readonly sets?: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** The folder that relative paths count from. */
  readonly cwd: string;
}

/** A configuration as far as it could be read, and everything that is wrong with it. */
export interface ReadConfig {
  readonly config: Config | undefined;
  readonly problems: readonly Problem[];
}

/** Files, then the environment, then `--set`; later ones win. Never throws for what a person wrote. */
export function readConfig(sources: ConfigSources, parts: Parts): ReadConfig {
  const problems: Problem[] = [];
  const { env, cwd } = sources;
  const topology = sources.topology || env.MULTILITH_TOPOLOGY || 'default';
  const namedBy = sources.topology ? (sources.topologyOption ?? '--topology') : 'MULTILITH_TOPOLOGY';
  const layers = [...fileLayers(topology, namedBy, cwd, problems), ...environmentLayers(env, cwd, problems), ...setLayers(sources.sets ?? [], cwd, problems)];
  const secrets = resolveSecrets(joinLayers(layers), layers, env, problems);
  const checking = { layers, secrets, problems };
  const shape = check(ConfigSchema, secrets.tree, [], checking) ?? salvage(secrets.tree);
  const config = finish(shape, topology, cwd, parts, checking);
  return { config: problems.some(isError) ? undefined : config, problems };
}

/** The same for whoever cannot go on without. */
export function requireConfig(sources: ConfigSources, parts: Parts): { readonly config: Config; readonly warnings: readonly Problem[] } {
  const { config, problems } = readConfig(sources, parts);
  if (config === undefined) throw new ConfigError(problems);
  return { config, warnings: problems };
}

function isError({ severity }: Problem): boolean {
  return severity === 'error';
}

/** The sections that fit, the defaults for those that do not: so that one mistake does not hide those in other sections. */
function salvage(tree: Tree): ConfigShape {
  const fitting = Object.entries(ConfigSchema.shape).filter(([key, schema]) => Object.hasOwn(tree, key) && schema.safeParse(tree[key]).success);
  return ConfigSchema.parse(Object.fromEntries(fitting.map(([key]) => [key, tree[key]])));
}

function finish(shape: ConfigShape, topology: string, cwd: string, parts: Parts, checking: Checking): Config {
  const { data, http, publicUrl, hosts, calls, peers, threads, retention, outbox, log, shutdown } = shape;
  const listen = parseListen(http.listen)!;
  const before = checking.problems.filter(isError).length;
  const { host: keeper, ...busSection } = shape.bus;
  const bus = choose(busSection, ['bus'], parts.bus, checking);
  const registry = choose(shape.registry, ['registry'], parts.registry, checking);
  const storage = storageOf(shape.storage, parts, checking);
  const channels = mapEntries(shape.channels, (section, name) => choose(section, ['channels', name], parts.channel, checking));
  checkTopology(shape, { bus, registry, storage, channels, complete: checking.problems.filter(isError).length === before }, parts, checking);
  const config: Omit<Config, 'shown'> = {
    topology,
    dataDir: resolve(cwd, data),
    publicUrl: publicUrl?.replace(/\/+$/, '') ?? urlOf(listen),
    publicUrlGiven: publicUrl !== undefined,
    http: { ...http, listen },
    hosts: hosts as Config['hosts'],
    calls,
    peers,
    threads,
    registry,
    caches: mapEntries(shape.caches, (section, name) => choose(section, ['caches', name], parts.cache, checking)),
    storage,
    bus: { ...bus, host: keeper ?? (Object.keys(hosts).length === 1 ? Object.keys(hosts)[0]! : null) },
    channels,
    blobs: choose(shape.blobs, ['blobs'], parts.blob, checking),
    modules: modulesOf(shape.modules, parts.modules, checking),
    retention,
    log,
    outbox,
    shutdown,
  };
  return { ...config, shown: checking.secrets.redact(asWritten(config) as unknown as Value) as Tree };
}

/** As it would stand in a file that leaves nothing to defaults. */
function asWritten({ http, registry, caches, storage, bus, channels, blobs, ...rest }: Omit<Config, 'shown'>): object {
  const { topology: _, dataDir, publicUrlGiven: __, ...same } = rest;
  const section = ({ driver, settings }: Chosen) => ({ driver, ...(settings as object) });
  return { data: dataDir, ...same, http: { ...http, listen: `${http.listen.host}:${http.listen.port}` }, registry: section(registry), caches: mapEntries(caches, section), storage: mapEntries(storage, section), bus: { ...section(bus), ...(bus.host !== null && { host: bus.host }) }, channels: mapEntries(channels, section), blobs: section(blobs) };
}

function choose(section: { readonly driver: string }, path: readonly string[], catalog: Catalog<unknown>, checking: Checking): Chosen {
  const { driver: name, ...rest } = section;
  if (!Object.hasOwn(catalog, name)) {
    const known = Object.keys(catalog);
    reject([...path, 'driver'], `must be a driver that this build has: ${known.join(', ')}.${didYouMean(name, known)}`, checking);
    return { driver: name, settings: {} };
  }
  return { driver: name, settings: check(catalog[name]!.settings as z.ZodType<unknown>, rest, path, checking) };
}

function storageOf(sections: ConfigShape['storage'], parts: Parts, checking: Checking): Config['storage'] {
  const names = parts.modules.map(({ name }) => name);
  for (const name of Object.keys(sections)) {
    if (name !== 'default' && !names.includes(name)) reject(['storage', name], `no such module.${didYouMean(name, ['default', ...names])} There are: ${names.join(', ')}, and default.`, checking);
  }
  const chosen = mapEntries({ default: { driver: 'sqlite' }, ...sections }, (section, name) => choose(section, ['storage', name], parts.storage, checking));
  const storage = Object.fromEntries(names.map((name) => [name, chosen[name] ?? chosen.default!]));
  checkApart(storage, (name) => (Object.hasOwn(sections, name) ? name : 'default'), parts, checking);
  return storage;
}

/** Two modules in one database would take each other's tables for their own. */
function checkApart(storage: Config['storage'], sectionOf: (module: string) => string, parts: Parts, checking: Checking): void {
  const owners = new Map<string, string>();
  const told = new Set<string>();
  for (const [name, { driver, settings }] of Object.entries(storage)) {
    if (settings === undefined || !Object.hasOwn(parts.storage, driver)) continue;
    const { place } = parts.storage[driver]!.create(settings, { ...probe(''), name }).contents;
    const owner = owners.get(place);
    const section = sectionOf(name);
    if (owner !== undefined && !told.has(section)) reject(['storage', section, 'schema'], `must not be that of ${owner} (${place}): each module has a schema of its own; left out, it is called as the module`, checking);
    if (owner === undefined) owners.set(place, name);
    else told.add(section);
  }
}

function modulesOf(sections: ConfigShape['modules'], modules: readonly ModuleDefinition[], checking: Checking): Config['modules'] {
  const names = modules.map(({ name }) => name);
  for (const name of Object.keys(sections)) {
    if (!names.includes(name)) reject(['modules', name], `no such module.${didYouMean(name, names)} There are: ${names.join(', ')}.`, checking);
  }
  return Object.fromEntries(modules.map(({ name, settings }) => [name, check(settings as z.ZodType<unknown>, sections[name] ?? {}, ['modules', name], checking)]));
}

function mapEntries<A, B>(record: Readonly<Record<string, A>>, change: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value, key)]));
}

