import { placements } from '../../fabric/placements.ts';
import { reject, type Checking } from './check.ts';
import { probe, type Chosen, type Parts } from './parts.ts';
import type { ConfigShape } from './schema.ts';
import { didYouMean } from './suggest.ts';

/** How far each way of calling reaches. What is missing from src/fabric/placements.ts is not in this build. */
const REACH: Readonly<Record<string, 'process' | 'machine' | 'network'>> = {
  inline: 'process',
  'inline-strict': 'process',
  thread: 'process',
  rpc: 'network',
  http: 'network',
};

/** The drivers that the configuration chose. */
export interface ChosenParts {
  readonly bus: Chosen;
  readonly storage: Readonly<Record<string, Chosen>>;
  /** False when settings of one of them do not fit, so that none can be asked. */
  readonly complete: boolean;
}

/** Notes what cannot work in the way that hosts, modules and calls are laid out. */
export function checkTopology(shape: ConfigShape, chosen: ChosenParts, parts: Parts, checking: Checking): void {
  const names = parts.modules.map(({ name }) => name);
  checkHosts(shape, names, checking);
  for (const [module, rule] of Object.entries(shape.calls)) checkCall(module, rule, shape, names, checking);
  if (chosen.complete) checkSpan(shape, chosen, parts, checking);
}

function checkHosts({ hosts }: ConfigShape, names: readonly string[], checking: Checking): void {
  if (Object.keys(hosts).length === 0) reject(['hosts'], 'must name at least one host', checking);
  const homes = new Map<string, string>();
  for (const [host, { modules }] of Object.entries(hosts)) {
    modules.forEach((module, index) => {
      const path = ['hosts', host, 'modules', String(index)];
      const other = homes.get(module);
      if (!names.includes(module)) reject(path, `no such module.${didYouMean(module, names)} There are: ${names.join(', ')}.`, checking);
      else if (other !== undefined) reject(path, `a module belongs to one host, and ${other} has it already`, checking);
      else homes.set(module, host);
    });
  }
  for (const name of names) if (!homes.has(name)) reject(['hosts'], `no host runs the module ${name}; add it to the modules of one`, checking);
}

function checkCall(module: string, rule: ConfigShape['calls'][string], shape: ConfigShape, names: readonly string[], checking: Checking): void {
  const built = Object.keys(placements);
  if (!names.includes(module)) return reject(['calls', module], `no such module.${didYouMean(module, names)} There are: ${names.join(', ')}.`, checking);
  const reach = REACH[rule.via];
  if (reach === undefined) return reject(['calls', module, 'via'], `must be one of ${built.join(', ')}.${didYouMean(rule.via, Object.keys(REACH))}`, checking);
  if (!built.includes(rule.via)) return reject(['calls', module, 'via'], `${rule.via} is not in this build, which has ${built.join(' and ')}: all modules in one process`, checking);
  const vias = new Set(names.map((name) => shape.calls[name]?.via ?? 'inline'));
  if (rule.via !== 'inline' && vias.size > 1) reject(['calls', module, 'via'], `all modules of a process are reached in the same way; give ${rule.via} to each of ${names.join(', ')}, or to none`, checking);
  if (rule.cache !== undefined && reach === 'process') reject(['calls', module, 'cache'], 'only calls that leave the process are cached; leave it out', checking);
}

/** What more than one process needs from the parts that processes share. Drivers say so themselves; asking opens nothing. */
function checkSpan(shape: ConfigShape, chosen: ChosenParts, parts: Parts, checking: Checking): void {
  const hosts = Object.entries(shape.hosts);
  const replicated = hosts.filter(([, { replicas }]) => replicas > 1);
  if (hosts.length > 1) reject(['hosts'], `more than one host needs calls over rpc or http, and this build has only ${Object.keys(placements).join(' and ')}`, checking);
  if (hosts.length > 1 || replicated.length > 0) {
    const { driver, settings } = chosen.bus;
    const bus = parts.bus[driver]?.create(settings, probe('.'));
    if (bus && !bus.capabilities.spansHosts) reject(['bus', 'driver'], `${driver} serves one process only; a topology of several needs a bus that spans hosts`, checking);
  }
  for (const [host, { modules }] of replicated) {
    for (const module of modules) {
      const { driver, settings } = chosen.storage[module] ?? {};
      const storage = driver === undefined ? undefined : parts.storage[driver]?.create(settings, probe('.'));
      if (storage && !storage.capabilities.shared) reject(['hosts', host, 'replicas'], `${module} stores in ${driver}, which one process may open; replicas need a storage that can be shared`, checking);
    }
  }
}
