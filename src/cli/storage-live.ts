import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../app/config/config.ts';
import { askHost } from '../app/control/client.ts';
import { hostsOn } from '../app/control/running.ts';
import { BootProblem } from '../app/host/boot-problem.ts';
import type { ModuleMove } from '../app/host/kept-storages.ts';
import { count } from '../app/plan/plan-text.ts';
import type { ReadsOf } from '../fabric/compared-reads.ts';
import { type Args, EXIT, type Io } from './command.ts';
import { comparisonLines, endOfLive, moveLines, readers } from './storage-text.ts';

/** How often a host is asked how far it is. */
const LOOK_MS = 250;
/** Standard error is told at most so often. */
const TELL_MS = 1_000;

export interface LiveJob {
  readonly name: string;
  readonly modules: readonly string[];
  /** The one that runs them, here. */
  readonly host: string;
  readonly topology: string;
  /** Those that are to be made on both sides before the new one counts; undefined: it counts at once. */
  readonly reads: ReadsOf | undefined;
  readonly config: Config;
  readonly args: Args;
  readonly io: Io;
}

/** Has a running host move, turn back or finish; answers the exit code. */
export async function moveLive(job: LiveJob): Promise<number> {
  const { name, modules, host, topology, reads, config, args, io } = job;
  const ask = async (method: 'GET' | 'POST', path: string, input?: object) => {
    const moves = (await askHost(config.dataDir, host, method, path, input)) as ModuleMove[];
    return modules.flatMap((name) => moves.filter(({ module }) => module === name));
  };
  if (name === 'back' || name === 'finish') {
    const moves = await ask('POST', `/storage-move/${name}`, { modules });
    io.out(args.flag('json') ? JSON.stringify(moves, undefined, 2) : endOfLive(name, modules, topology));
    return EXIT.ok;
  }
  let moves = await ask('POST', '/storage-move', { modules, topology, reads });
  for (let told = performance.now(); !isOver(moves, reads); moves = await ask('GET', '/storage-move')) {
    if (performance.now() - told >= TELL_MS) {
      told = performance.now();
      io.error(args.flag('json') ? JSON.stringify(moves) : lineOf(moves));
    }
    await pause(LOOK_MS);
  }
  return report(moves, job);
}

/** How all hosts' moves are that work here; answers the exit code. */
export async function tellMoves({ dataDir }: Config, args: Args, io: Io): Promise<number> {
  const hosts = await hostsOn(dataDir);
  if (hosts.length === 0) throw new BootProblem('No host works with this data here.', 'Start it, or run this where it works.');
  const moves = (await Promise.all(hosts.map(({ host }) => askHost(dataDir, host, 'GET', '/storage-move') as Promise<ModuleMove[]>))).flat();
  if (args.flag('json')) io.out(JSON.stringify(moves, undefined, 2));
  else if (moves.length === 0) io.out('Nothing is being moved.');
  else moves.flatMap(moveLines).forEach((line) => io.out(line));
  return EXIT.ok;
}

function isOver(moves: readonly ModuleMove[], reads: ReadsOf | undefined): boolean {
  const last = reads === undefined ? 'switched' : 'following';
  return moves.some((move) => isStuck(move, reads)) || moves.every(({ progress }) => progress?.state === last);
}

/** It comes no further by itself: failed, or refused after it followed. */
function isStuck({ progress }: ModuleMove, reads: ReadsOf | undefined): boolean {
  return progress?.state === 'failed' || (reads === undefined && progress?.state === 'following' && progress.problem !== null);
}

function lineOf(moves: readonly ModuleMove[]): string {
  const current = moves.find(({ progress }) => progress?.state === 'copying' || progress?.state === 'comparing');
  if (current?.progress == null) return 'waiting';
  const { state, table, rows, changes } = current.progress;
  return `${current.module}: ${state}${table === null ? '' : ` ${table}, ${count(rows, 'row')}`}, ${count(changes, 'change')} carried over`;
}

function report(moves: readonly ModuleMove[], { topology, reads, args, io }: LiveJob): number {
  const failed = moves.find((move) => isStuck(move, reads));
  if (args.flag('json')) io.out(JSON.stringify(moves, undefined, 2));
  else {
    for (const { module, progress } of moves) if (progress !== null) comparisonLines({ module, from: progress.from, to: progress.to, tables: progress.compared, isSame: true }).forEach((line) => io.out(line));
    if (failed !== undefined) io.error(`The move of ${failed.module} has failed: ${failed.progress!.problem} The old storage counts, as before.`);
    else if (reads !== undefined) {
      io.out(`\nThe old storages count, the new ones follow, and reads of ${readers(reads)} are made on both. What comes of it: multilith storage status.`);
      io.out(`The same command with another --read takes others. To have the new ones count: multilith storage move --live --to ${topology}. To call it off: multilith storage back --to ${topology}.`);
    } else {
      io.out(`\nThe host works with the new storages, and the old ones follow; it was held back for ${Math.max(...moves.map(({ progress }) => progress!.longestHoldMs))} ms at most.`);
      io.out(`When you are content: multilith storage finish --to ${topology}. To turn back: multilith storage back --to ${topology}. Until then start with the topology from before.`);
    }
  }
  return failed === undefined ? EXIT.ok : EXIT.failed;
}
