import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BootProblem } from './boot-problem.ts';
import { readRecord, replaceDurably, syncFolder } from './durable-file.ts';
import { readStoragePlace } from './storage-place.ts';

const StorageMove = z.strictObject({
  /** Where the module's data came from, and where it goes: places as the storages name them. */
  from: z.string(),
  to: z.string(),
  /** The topology whose storage that is, absolute. */
  topology: z.string(),
  /**
   *   begun → copying → moved → used
   *     │        └───────┴ back: no record
   *     ├→ following ─┐
   *     └─────────────┴→ switched → used
   *                         └ back: no record, as from `following`
   *
   * `begun`: what the new storage holds is worth nothing. `copying`: it holds rows of the old one as they still are.
   * `moved`: it holds all of them, and counts. `used`: a host has worked with it, so that it alone holds everything.
   * `following`: a host works with the old one, which records what changes, and the new one follows. `switched`: the other way round.
   */
  state: z.enum(['begun', 'following', 'copying', 'moved', 'switched', 'used']),
  /** While copying: those that the new storage is without for so long. */
  indexes: z.array(z.strictObject({ name: z.string(), create: z.string() })).default([]),
});
export type StorageMove = z.infer<typeof StorageMove>;

/** What the data directory says of where a module's data lies; undefined when it was never moved. @throws BootProblem when it cannot be read. */
export function readStorageMove(dataDir: string, module: string): StorageMove | undefined {
  return readRecord(pathOf(dataDir, module), StorageMove, `It says in which storage the data of ${module} is.`);
}

/** On disk, whole, when it resolves. */
export async function noteStorageMove(dataDir: string, module: string, move: StorageMove): Promise<void> {
  await replaceDurably(pathOf(dataDir, module), `${JSON.stringify(move)}\n`);
}

/** Gone for good when it resolves. */
export async function forgetStorageMove(dataDir: string, module: string): Promise<void> {
  await rm(pathOf(dataDir, module), { force: true });
  await syncFolder(dataDir);
}

/**
 * The record of a module whose data is in `place`, or was moved long ago, and then to neither side of the move.
 * @throws BootProblem when it is somewhere else.
 */
export function requireStorage(dataDir: string, module: string, place: string): StorageMove | undefined {
  const move = readStorageMove(dataDir, module);
  if (move === undefined) return undefined;
  const { from, to, topology, state } = move;
  if (state === 'used' && place !== from && readStoragePlace(dataDir, module) !== undefined) return move;
  const hasMoved = state === 'moved' || state === 'used';
  if (hasMoved && place !== to) throw new BootProblem(`The data of ${module} has been moved to another storage (${to}), and this configuration names ${place}.`, `Start with --topology ${topology}, or take its section "storage" over into your own.${state === 'moved' ? ` No host has worked with it yet; to stay with the old one: multilith storage back --module ${module} --to ${topology}` : ''}`);
  if (state === 'switched' && place !== from) throw new BootProblem(`The data of ${module} has been moved to ${to}, and ${from} follows until that is finished; this configuration names ${place}.`, `Finish it: multilith storage finish --to ${topology}, with the configuration from before; or start with that one.`);
  if (!hasMoved && place !== from) throw new BootProblem(`The data of ${module} is being moved from ${from} to ${to}, and this configuration names ${place}.`, `Let the move end: multilith storage move --to ${topology} with the configuration from before; or start with that one.`);
  return move;
}

/**
 * Before a host opens the storage that its configuration names for a module: notes that it works with it from now on.
 * Answers the module's record as it was.
 * @throws BootProblem when the module's data is somewhere else.
 */
export async function enterStorage(dataDir: string, module: string, place: string): Promise<StorageMove | undefined> {
  const move = requireStorage(dataDir, module, place);
  if (move?.state === 'moved') await noteStorageMove(dataDir, module, { ...move, state: 'used' });
  // What is written from now on is not in the copy.
  if (move?.state === 'copying') await noteStorageMove(dataDir, module, { ...move, state: 'begun', indexes: [] });
  return move;
}

function pathOf(dataDir: string, module: string): string {
  return join(dataDir, `storage-move-${module}.json`);
}
