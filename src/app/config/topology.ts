import { MOST_VALUE_BYTES } from '../../ports/transport.ts';
import { reject, rejectMissing, type Checking } from './check.ts';
import { isLoopback, parseListen, type ListenAddress } from './listen.ts';
import { callersAcross, hostOfModule, isAlone, isOnThread, REACH, type Via } from './placement.ts';
import { type Catalog, type Chosen, type Parts, probe } from './parts.ts';
import { checkPeerTls } from './peer-tls.ts';
import type { ConfigShape } from './schema.ts';
import { didYouMean } from './suggest.ts';
import { eventsOf, isOfPrograms } from './worker-queues.ts';

/** The drivers that the configuration chose. */
export interface ChosenParts {
  readonly bus: Chosen;
  readonly registry: Chosen;
  readonly storage: Readonly<Record<string, Chosen>>;
  readonly channels: Readonly<Record<string, Chosen>>;
  /** False when settings of one of them do not fit, so that none can be asked. */
  readonly complete: boolean;
}

/** Notes what cannot work in the way that hosts, modules and calls are laid out; not what only follows from another mistake. */
export function checkTopology(shape: ConfigShape, chosen: ChosenParts, parts: Parts, checking: Checking): void {
  const names = parts.modules.map(({ name }) => name);
  const given = hostsFit(checking);
  checkHosts(shape, names, checking);
  checkPeerTls(shape.peers, checking);
  const placed = hostsFit(checking);
  for (const module of Object.keys(shape.calls)) checkCall(module, shape, parts, placed, checking);
  if (!given) return;
  checkAddresses(shape, chosen, parts, checking);
  // Without a secret that is missing, settings do not fit, and that is told already.
  if (!chosen.complete || chosen.bus.settings === undefined) return;
  checkWorkers(chosen.bus, parts, checking);
  checkSpan(shape, chosen, parts, checking);
}

function hostsFit({ problems }: Checking): boolean {
  return !problems.some(({ severity, path }) => severity === 'error' && path.split('.')[0] === 'hosts');
}

function checkHosts({ hosts }: ConfigShape, names: readonly string[], checking: Checking): void {
  if (Object.keys(hosts).length === 0) reject(['hosts'], 'must name at least one host', checking);
  const homes = new Map<string, string>();
  const misspelt: string[] = [];
  for (const [host, { modules }] of Object.entries(hosts)) {
    modules.forEach((module, index) => {
      const path = ['hosts', host, 'modules', String(index)];
      const other = homes.get(module);
      if (!names.includes(module)) {
        misspelt.push(didYouMean(module, names));
        reject(path, `no such module.${misspelt.at(-1)} There are: ${names.join(', ')}.`, checking);
      } else if (other !== undefined) reject(path, `a module belongs to one host, and ${other} has it already. Take it off one of them, or leave out a whole host, also of a file that is extended: ${other}: null.`, checking);
      else homes.set(module, host);
    });
  }
  for (const name of names) if (!homes.has(name) && !misspelt.some((meant) => meant.includes(`"${name}"`))) reject(['hosts'], `no host runs the module ${name}; add it to the modules of one`, checking);
}

function checkCall(module: string, shape: ConfigShape, parts: Parts, placed: boolean, checking: Checking): void {
  const names = parts.modules.map(({ name }) => name);
  const { via, cache } = shape.calls[module]!;
  const ways = Object.keys(REACH);
  if (!names.includes(module)) return reject(['calls', module], `no such module.${didYouMean(module, names)} There are: ${names.join(', ')}.`, checking);
  if (via !== undefined && !ways.includes(via)) return reject(['calls', module, 'via'], `must be one of ${ways.join(', ')}.${didYouMean(via, ways)}`, checking);
  const across = callersAcross(module, parts.modules, shape);
  const host = hostOfModule(module, shape);
  if (placed && via !== undefined && REACH[via as Via] === 'process' && across.length > 0) {
    reject(['calls', module, 'via'], `${across.join(' and ')} on another host than ${host} ${across.length === 1 ? 'calls' : 'call'} ${module}: must be rpc or http, or left out for rpc`, checking);
  }
  const definition = parts.modules.find(({ name }) => name === module);
  if (via === 'thread' && [definition?.http, definition?.greeting, definition?.operator].some((face) => face !== undefined)) {
    reject(['calls', module, 'via'], `${module} answers browsers or operators and so stays on the main thread; put other modules on threads`, checking);
  }
  if (cache === undefined) return;
  if (placed && across.length === 0 && via !== 'thread') reject(['calls', module, 'cache'], 'only calls that leave the process are cached; leave it out', checking);
  const { shared } = cache;
  if (shared !== undefined && !Object.hasOwn(shape.caches, shared)) reject(['calls', module, 'cache', 'shared'], `must be the name of a cache under caches.${didYouMean(shared, Object.keys(shape.caches))} There are: ${Object.keys(shape.caches).join(', ')}.`, checking);
}

/** What a program waits for, somebody must publish: a module, or another program. */
function checkWorkers({ driver, settings }: Chosen, parts: Parts, checking: Checking): void {
  const known = [...eventsOf(parts.modules).keys()];
  for (const [name, { topics }] of Object.entries(parts.bus[driver]?.workers?.(settings) ?? {})) {
    topics.forEach((topic, index) => {
      if (!known.includes(topic) && !isOfPrograms(topic)) reject(['bus', 'workers', name, 'events', String(index)], `no such event.${didYouMean(topic, known)} There are: ${known.join(', ')}; and worker.<what> for what programs publish.`, checking);
    });
  }
}

/** Hosts must be able to find each other, and to know each other where strangers can reach them. */
function checkAddresses(shape: ConfigShape, { registry }: ChosenParts, parts: Parts, checking: Checking): void {
  const hosts = Object.entries(shape.hosts);
  if (isAlone(shape)) return;
  const takenBy = new Map<string, string>();
  const pages = parseListen(shape.http.listen)!;
  for (const [name, { modules, listen, addresses, replicas }] of hosts) {
    if (listen === undefined) {
      rejectMissing(['hosts', name, 'listen'], ' where there are several hosts: the address and port at which the others reach this one, e.g. 127.0.0.1:7071', checking);
      continue;
    }
    const own = parseListen(listen)!;
    const hasPages = parts.modules.some((module) => module.http !== undefined && modules.includes(module.name));
    if (collide(own, pages, hasPages)) reject(['hosts', name, 'listen'], `must differ from http.listen, where browsers are answered at ${shape.http.listen}; give one of them another port, e.g. 127.0.0.1:7071 here`, checking);
    const reached = (addresses ?? [listen]).map((address) => parseListen(address)!);
    for (const address of new Set(addresses ?? [listen])) {
      const other = takenBy.get(address);
      if (other !== undefined) reject(['hosts', name, addresses === undefined ? 'listen' : 'addresses'], `must differ from the address of ${other}, which is ${address} too`, checking);
      else if (!address.endsWith(':0')) takenBy.set(address, name);
    }
    if (addresses === undefined && isWildcard(own)) rejectMissing(['hosts', name, 'addresses'], `, since ${own.host} stands for every address: how the others reach this host, e.g. [10.0.0.5:${own.port}]`, checking);
    if (registry.driver === 'static') {
      if (reached.some(({ port }) => port === 0)) reject(['hosts', name, addresses === undefined ? 'listen' : 'addresses'], 'must have a port other than 0, since the others find this host by this file', checking);
      if (replicas !== reached.length) reject(['hosts', name, 'addresses'], `must name an address for each of the ${replicas} replicas; or let them announce themselves with a registry that can`, checking);
    }
    if (shape.peers.secret === undefined && ![own, ...reached].every(({ host }) => isLoopback(host))) {
      reject(['peers', 'secret'], `is needed, since ${name} can be reached from other machines: MULTILITH_PEER_SECRET, or peers: { secret: { fromFile: … } }`, checking);
    }
  }
}

/** Whether one process, or two of one machine, could not listen at both. */
function collide(a: ListenAddress, b: ListenAddress, sameProcess: boolean): boolean {
  return a.port !== 0 && a.port === b.port && (a.host === b.host ? sameProcess || !isWildcard(a) : sameProcess && (isWildcard(a) || isWildcard(b)));
}

function isWildcard({ host }: ListenAddress): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** A payload crosses as a text within JSON, where each character of a JSON text may take two; around it go the message's other fields. */
const MOST_CROSSING_BYTES = MOST_VALUE_BYTES / 2 - 64 * 1024;

/** What more than one process needs from the parts that processes share. Drivers say so themselves; asking opens nothing. */
function checkSpan(shape: ConfigShape, chosen: ChosenParts, parts: Parts, checking: Checking): void {
  const hosts = Object.entries(shape.hosts);
  const replicated = hosts.filter(([, { replicas }]) => replicas > 1);
  const { driver } = chosen.bus;
  const { spansHosts: spans, maxMessageBytes = 0 } = unopened(chosen.bus, parts.bus)?.capabilities ?? { spansHosts: true };
  const keeper = shape.bus.host;
  const isCrossed = !spans && (hosts.length > 1 || Object.keys(shape.calls).some((module) => isOnThread(module, shape)));
  if (isCrossed && maxMessageBytes > MOST_CROSSING_BYTES) reject(['bus', 'maxMessageBytes'], `must be at most ${MOST_CROSSING_BYTES}, since messages go between processes or threads as values of calls`, checking);
  if (keeper !== undefined && spans) reject(['bus', 'host'], `${driver} is reached by every host; leave it out`, checking);
  else if (keeper !== undefined && !Object.hasOwn(shape.hosts, keeper)) reject(['bus', 'host'], `no such host.${didYouMean(keeper, Object.keys(shape.hosts))} There are: ${Object.keys(shape.hosts).join(', ')}.`, checking);
  else if (keeper === undefined && !spans && hosts.length > 1) rejectMissing(['bus', 'host'], `: ${driver} keeps its messages within one host, which the others reach over rpc. Name one of: ${Object.keys(shape.hosts).join(', ')}`, checking);
  for (const [host, { modules, replicas }] of replicated) {
    if (!spans && (keeper ?? host) === host) reject(['hosts', host, 'replicas'], `${host} keeps the messages in ${driver}, which one process may open; it can have ${replicas} replicas with a bus that spans hosts`, checking);
    for (const module of modules) {
      if (!parts.modules.find(({ name }) => name === module)?.replicable) {
        const may = parts.modules.filter(({ replicable }) => replicable).map(({ name }) => name);
        reject(['hosts', host, 'replicas'], `${module} keeps things in memory that another process would not know, and so has one; a host of ${may.join(' or ') || 'no module'} alone may have several`, checking);
        continue;
      }
      const storage = chosen.storage[module];
      if (storage !== undefined && unopened(storage, parts.storage)?.capabilities.shared === false) reject(['hosts', host, 'replicas'], `${module} stores in ${storage.driver}, which one process may open; replicas need a storage that can be shared`, checking);
      if (isOnThread(module, shape)) reject(['calls', module, 'via'], `${host} has replicas, which share the work without threads`, checking);
      if (parts.modules.find(({ name }) => name === module)!.usesChannels) checkKeptMails(host, module, chosen, parts, checking);
    }
  }
}

/** What one process keeps, the others would neither show nor erase. */
function checkKeptMails(host: string, module: string, { channels }: ChosenParts, parts: Parts, checking: Checking): void {
  for (const [name, channel] of Object.entries(channels)) {
    if (unopened(channel, parts.channel)?.kept === undefined) continue;
    const remedy = name === 'email' ? 'channels.email with driver smtp, or MULTILITH_SMTP_URL for every host' : `another driver for channels.${name}`;
    reject(['hosts', host, 'replicas'], `${module} keeps mails in ${channel.driver} (channels.${name}), where one process alone can show and erase them; replicas need a channel that sends: ${remedy}`, checking);
  }
}

/** A driver that has opened nothing; undefined where there is none, or where its settings are wrong, which is told with them. */
function unopened<Port>({ driver, settings }: Chosen, catalog: Catalog<Port>): Port | undefined {
  return settings === undefined ? undefined : catalog[driver]?.create(settings, probe('.'));
}
