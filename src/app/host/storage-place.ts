import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { migrationsIn } from '../../fabric/storage-tables.ts';
import type { Storage } from '../../ports/storage.ts';
import { BootProblem } from './boot-problem.ts';
import { dataDirProblem } from './data-dir.ts';
import { ownDatabase } from './drivers.ts';
import { readRecord, replaceDurably } from './durable-file.ts';

const STOP_MS = 5_000;

/** Where a module's data lay when its host last came up, as the storage names it: nothing secret. */
const StoragePlace = z.strictObject({ driver: z.string(), place: z.string() });
export type StoragePlace = z.infer<typeof StoragePlace>;

/** Undefined before the first start of a build that notes it. @throws BootProblem when it cannot be read. */
export function readStoragePlace(dataDir: string, module: string): StoragePlace | undefined {
  return readRecord(pathOf(dataDir, module), StoragePlace, `It says in which storage the data of ${module} is.`);
}

/** Once the storage has started with its tables in place. Again does nothing. On disk, whole, when it resolves. @throws BootProblem when it cannot be written. */
export async function noteStoragePlace(dataDir: string, module: string, { driver, place }: StoragePlace): Promise<void> {
  const last = readStoragePlace(dataDir, module);
  if (last?.driver === driver && last.place === place) return;
  await replaceDurably(pathOf(dataDir, module), `${JSON.stringify({ driver, place })}\n`).catch((error: unknown) => {
    throw dataDirProblem(dataDir, error);
  });
}

/**
 * Before a host works with the storage that its configuration names for a module, where no move has led there. Another
 * name for a server that has the data, as after a failover, is as good as the one from before.
 * @throws BootProblem when the module's data would be left behind: by a storage that is empty, or of another driver.
 */
export async function requireNothingLeftBehind(dataDir: string, module: string, driver: string, storage: Storage): Promise<void> {
  const noted = readStoragePlace(dataDir, module);
  const file = ownDatabase(dataDir, module);
  // What builds have left that noted nothing.
  const last = noted ?? (driver !== 'sqlite' && existsSync(file) ? { driver: 'sqlite', place: file } : undefined);
  const { place } = storage.contents;
  if (last === undefined || last.place === place) return;
  const isEmpty = driver === 'sqlite' ? !existsSync(file) : await isUnused(storage);
  if (!isEmpty && (noted === undefined || last.driver === driver)) return;
  const inTheWay = [...(noted === undefined ? [] : [basename(pathOf(dataDir, module))]), ...(existsSync(file) && driver !== 'sqlite' ? [`${basename(file)}*`] : [])];
  throw new BootProblem(
    `The data of ${module} is in another storage (${last.place}) than this configuration names (${place}${isEmpty ? ', which is empty' : ''}).`,
    `Start with the configuration from before, or take the data along: multilith storage move --to this topology, with --topology for the one from before, unless that is default. To begin without it, or when it has come there by other means, move ${inTheWay.join(' and ')} out of the data directory.`,
  );
}

/** A server that is not there is told of by the start itself, which waits for it or names the remedy. */
async function isUnused(storage: Storage): Promise<boolean> {
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

function pathOf(dataDir: string, module: string): string {
  return join(dataDir, `storage-${module}.json`);
}
