import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../app/config/config.ts';
import { askHost } from '../app/control/client.ts';
import type { ModuleMove } from '../app/host/kept-storages.ts';
import { count } from '../app/plan/plan-text.ts';
import { type Args, EXIT, type Io } from './command.ts';
import { comparisonLines, endOfLive } from './storage-text.ts';

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
  readonly config: Config;
  readonly args: Args;
  readonly io: Io;
}

/** Has a running host move, turn back or finish; answers the exit code. */
export async function moveLive(job: LiveJob): Promise<number> {
  const { name, modules, host, topology, config, args, io } = job;
  const ask = (method: 'GET' | 'POST', path: string, input?: object) => askHost(config.dataDir, host, method, path, input) as Promise<ModuleMove[]>;
  if (name === 'back' || name === 'finish') {
    const moves = await ask('POST', `/storage-move/${name}`, { modules });
    io.out(args.flag('json') ? JSON.stringify(moves, undefined, 2) : endOfLive(name, modules, topology));
    return EXIT.ok;
  }
  let moves = await ask('POST', '/storage-move', { modules, topology });
  for (let told = performance.now(); !isOver(moves); moves = await ask('GET', '/storage-move')) {
    if (performance.now() - told >= TELL_MS) {
      told = performance.now();
      io.error(args.flag('json') ? JSON.stringify(moves) : lineOf(moves));
    }
    await pause(LOOK_MS);
  }
  return report(moves, job);
}

function isOver(moves: readonly ModuleMove[]): boolean {
  return moves.some(({ progress }) => progress?.state === 'failed') || moves.every(({ progress }) => progress?.state === 'switched');
}

function lineOf(moves: readonly ModuleMove[]): string {
  const current = moves.find(({ progress }) => progress?.state === 'copying' || progress?.state === 'comparing');
  if (current?.progress == null) return 'waiting';
  const { state, table, rows, changes } = current.progress;
  return `${current.module}: ${state}${table === null ? '' : ` ${table}, ${count(rows, 'row')}`}, ${count(changes, 'change')} carried over`;
}

function report(moves: readonly ModuleMove[], { topology, args, io }: LiveJob): number {
  const failed = moves.find(({ progress }) => progress?.state === 'failed');
  if (args.flag('json')) io.out(JSON.stringify(moves, undefined, 2));
  else {
    for (const { module, progress } of moves) if (progress !== null) comparisonLines({ module, from: progress.from, to: progress.to, tables: progress.compared, isSame: true }).forEach((line) => io.out(line));
    if (failed !== undefined) io.error(`The move of ${failed.module} has failed: ${failed.progress!.problem} The old storage counts, as before.`);
    else {
      io.out(`\nThe host works with the new storages, and the old ones follow; it was held back for ${Math.max(...moves.map(({ progress }) => progress!.longestHoldMs))} ms at most.`);
      io.out(`When you are content: multilith storage finish --to ${topology}. To turn back: multilith storage back --to ${topology}. Until then start with the topology from before.`);
    }
  }
  return failed === undefined ? EXIT.ok : EXIT.failed;
}
