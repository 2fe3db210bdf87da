import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { migrationsIn } from '../../fabric/storage-tables.ts';
import type { Storage } from '../../ports/storage.ts';
import { BootProblem } from './boot-problem.ts';

const STOP_MS = 5_000;

/**
 * For a module whose data was never moved, before a host first works with another storage than SQLite.
 * @throws BootProblem when that storage has never been used, and the data directory has the module's data.
 */
export async function requireNothingLeftBehind(dataDir: string, module: string, storage: Storage): Promise<void> {
  const file = `${module}.sqlite`;
  if (storage.contents.place === `sqlite, ${file}` || !existsSync(join(dataDir, file)) || !(await isNew(storage))) return;
  throw new BootProblem(
    `The data of ${module} is in ${join(dataDir, file)}, and this configuration names an empty storage (${storage.contents.place}).`,
    `Take it along: multilith storage move --to this topology, with --topology for the one that the host has run with, unless that is default. To begin without it, move ${file}* out of the data directory.`,
  );
}

/** A server that is not there is told of by the start itself, which waits for it or names the remedy. */
async function isNew(storage: Storage): Promise<boolean> {
  try {
    await storage.start();
    const snapshot = await storage.snapshot();
    return (await migrationsIn(snapshot).finally(() => snapshot.close())).length === 0;
  } catch {
    return false;
  } finally {
    await storage.stop(STOP_MS);
  }
}
