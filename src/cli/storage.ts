import { existsSync } from 'node:fs';
import { requireConfig, type Config } from '../app/config/config.ts';
import { topologyFile } from '../app/config/layers.ts';
import { probe } from '../app/config/parts.ts';
import { hostOfModule } from '../app/config/placement.ts';
import { didYouMean } from '../app/config/suggest.ts';
import { isRunning } from '../app/control/client.ts';
import { hostsOn } from '../app/control/running.ts';
import { leaveDataDir, takeDataDir } from '../app/control/socket.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import { modulesToMove, StorageMover, type ModuleComparison, type StorageMoverOptions } from '../app/host/storage-mover.ts';
import { parts } from '../app/parts.ts';
import type { ReadsOf } from '../fabric/compared-reads.ts';
import { UUID } from '../fabric/storage-compare.ts';
import { Fault } from '../kernel/fault.ts';
import { EXIT, UsageError, type Args, type Command, type Io } from './command.ts';
import { CONFIG_OPTIONS, loadConfig } from './configuration.ts';
import { moveLive, tellMoves } from './storage-live.ts';
import { comparisonLines, endOfLive, storageTeller } from './storage-text.ts';

const WORDS = ['move', 'status', 'compare', 'back', 'finish'];

export const storage: Command = {
  name: 'storage',
  usage: 'move|compare|back|finish --to FILE [options], or status',
  words: 1,
  details: `  move              copy the modules' data to the storages that another topology names, compare, and switch
  move --live       the same while the host works; the old storages follow the new ones until it is finished
  move --live --read WHOSE
                    the new storages follow the old ones, which count, until it is asked for without --read; reads of these
                    workspaces are made on both, and what the new ones answer is taken where it is the same
  status            how a move --live is, and what came of reads on both sides
  compare           count and sum up both sides again, and change nothing
  back              have the old storages count, again or still: of a move --live that is not finished, or when no host has
                    worked with the new ones
  finish            let the old storages go after a move --live

Of the topology that --to names only the section "storage" counts; --topology is the one that the hosts have run
with. Without --live the hosts must be stopped. What is done is said on standard error, the report is standard output.

A move may be broken off and repeated at any time: it goes on where it stopped, with --live it begins anew until the
new storages follow. It switches only when both sides have the same rows. When it is over, the next start needs the new topology, and one that
names the old storage is refused.

Exit codes: 0 both sides are the same · 1 they differ, or it could not be done · 2 wrong option or configuration.`,
  options: {
    ...CONFIG_OPTIONS,
    to: { value: 'FILE', help: 'The topology whose storages the data goes to: a file, or the name of one in ./config.' },
    module: { value: 'NAME', many: true, help: 'Only this module. May be repeated. Default: all whose storage differs.' },
    live: { help: 'Move while the host works.' },
    read: { value: 'WHOSE', help: 'With move --live: ids of workspaces, parted by commas, or all.' },
    json: { help: 'JSON for programs.' },
  },
  async run(args, io) {
    const [name] = args.words;
    if (name === undefined || !WORDS.includes(name)) throw new UsageError(`${name === undefined ? 'storage needs to know what to do.' : `There is no "storage ${name}".${didYouMean(name, WORDS)}`} There are: ${WORDS.join(', ')}.`);
    const reads = readsOf(name, args);
    if (name === 'status') return tellMoves(loadConfig(args, io, parts), args, io);
    const { topology, target } = targetOf(name, args, io);
    const config = loadConfig(args, io, parts);
    const options: StorageMoverOptions = { config, target, topology, parts, context: probe(config.dataDir), tell: storageTeller(args, io) };
    const modules = chosenModules(args, options);
    return withRemedy(async () => {
      const host = name === 'compare' || (name === 'move' && !args.flag('live')) ? undefined : await hostAt(modules, config);
      if (host !== undefined) return moveLive({ name, modules, host, topology, reads, config, args, io });
      if (name === 'move' && args.flag('live')) throw new BootProblem(`No host works here that runs ${modules.join(', ')}.`, `Start ${hostsOf(modules, config).join(', ')}, with the topology from before; where that runs on another machine, or with a data directory of its own (MULTILITH_DATA), run this there. Or move without --live.`);
      return withoutHosts(config, () => carryOut(name, modules, options, args, io));
    });
  },
};

/** @throws UsageError */
function readsOf(name: string, args: Args): ReadsOf | undefined {
  const text = args.text('read');
  if (text === undefined) return undefined;
  if (name !== 'move' || !args.flag('live')) throw new UsageError('--read goes with storage move --live.');
  if (text === 'all') return text;
  const ids = text.split(',');
  const wrong = ids.find((id) => !UUID.test(id));
  if (wrong !== undefined) throw new UsageError(`--read must be all, or ids of workspaces parted by commas: ${JSON.stringify(wrong)} is none.`);
  return ids;
}

/** @throws UsageError, ConfigError with all that is wrong with it. */
function targetOf(name: string, args: Args, { env, cwd }: Io): { readonly topology: string; readonly target: Config } {
  const to = args.text('to');
  if (to === undefined) throw new UsageError(`storage ${name} needs to know the other side: --to FILE, a topology with other storages.`);
  const topology = topologyFile(to, cwd);
  const { config } = requireConfig({ topology: topology ?? to, topologyOption: '--to', env, cwd }, parts);
  return { topology: topology!, target: config };
}

function chosenModules(args: Args, options: StorageMoverOptions): readonly string[] {
  const names = parts.modules.map(({ name }) => name);
  const wanted = args.texts('module');
  const unknown = wanted.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new UsageError(`There is no module ${unknown}.${didYouMean(unknown, names)} There are: ${names.join(', ')}.`);
  const modules = wanted.length > 0 ? wanted : modulesToMove(options);
  if (modules.length === 0) throw new UsageError(`Both topologies name the same storage for every module. Name another one in the section "storage" of ${options.topology}.`);
  return modules;
}

/** The host that runs these modules, when it runs here. @throws UsageError when they run on several, of which one does. */
async function hostAt(modules: readonly string[], config: Config): Promise<string | undefined> {
  const hosts = hostsOf(modules, config);
  const running = await Promise.all(hosts.map((host) => isRunning(config.dataDir, host)));
  if (!running.includes(true)) return undefined;
  if (hosts.length > 1) throw new UsageError(`These modules run on several hosts: ${modules.map((module) => `${module} on ${hostOfModule(module, config)}`).join(', ')}. Take those of one at a time with --module, where it runs.`);
  return hosts[0];
}

function hostsOf(modules: readonly string[], config: Config): string[] {
  return [...new Set(modules.map((module) => hostOfModule(module, config)))].filter((host) => host !== undefined);
}

/** With every host's place on the data directory, so that none can start meanwhile. */
async function withoutHosts({ dataDir, hosts }: Config, work: () => Promise<number>): Promise<number> {
  if (!existsSync(dataDir)) throw new BootProblem(`There is no data directory ${dataDir}.`, 'Name that of the host with MULTILITH_DATA.');
  const running = (await hostsOn(dataDir)).map(({ host, pid }) => (pid === null ? host : `${host} (process ${pid})`));
  if (running.length > 0) throw new BootProblem(`On this data directory runs: ${running.join(', ')}.`, 'Stop it first; or move while it works: --live.');
  const locks: [string, Awaited<ReturnType<typeof takeDataDir>>][] = [];
  try {
    for (const host of Object.keys(hosts)) locks.push([host, await takeDataDir(dataDir, host)]);
    return await work();
  } finally {
    for (const [host, lock] of locks) await leaveDataDir(lock, dataDir, host);
  }
}

async function carryOut(name: string, modules: readonly string[], options: StorageMoverOptions, args: Args, io: Io): Promise<number> {
  const compared: ModuleComparison[] = [];
  for (const module of modules) {
    const mover = new StorageMover(module, options);
    if (name === 'finish') await mover.finish();
    else if (name === 'back') await mover.back();
    else compared.push(name === 'move' ? await mover.move() : await mover.compare());
  }
  if (name === 'back' || name === 'finish') {
    io.out(args.flag('json') ? JSON.stringify({ modules }) : endOfLive(name, modules, options.topology));
    return EXIT.ok;
  }
  const isSame = compared.every((one) => one.isSame);
  if (args.flag('json')) io.out(JSON.stringify(compared, undefined, 2));
  else for (const line of [...compared.flatMap(comparisonLines), '', endOf(name, isSame, options.topology)]) io.out(line);
  return isSame ? EXIT.ok : EXIT.failed;
}

function endOf(name: string, isSame: boolean, topology: string): string {
  if (name === 'compare') return isSame ? 'Both sides are the same.' : 'The two sides differ.';
  if (!isSame) return 'The two sides differ, so that nothing was switched for the modules that do: start with the old topology as before. Find out who has written to the new storage; the same command then copies it anew.';
  return `The data is in the new storages. From the next start on: --topology ${topology}, or its section "storage" in your own.`;
}

/** A fault that carries what to do about it. */
async function withRemedy<T>(work: () => Promise<T>): Promise<T> {
  return work().catch((thrown: unknown) => {
    const remedy = Fault.is(thrown) && (thrown.details as { remedy?: unknown } | undefined)?.remedy;
    throw typeof remedy === 'string' ? new BootProblem((thrown as Fault).message, remedy, thrown) : thrown;
  });
}
