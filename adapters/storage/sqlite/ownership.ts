import { DatabaseSync } from 'node:sqlite';
import { Fault } from '../../../src/kernel/fault.ts';
import { isBusy, sqliteFault } from './errors.ts';

/** Held for as long as the storage runs; the operating system frees it when the process dies, however it dies. */
export interface Ownership {
  release(): void;
}

/**
 * Makes sure that one storage only has the database open. WAL mode itself would let several processes in, each with
 * its own idea of who writes next; an exclusive lock on an empty database beside it (`<path>-lock`) does not.
 */
export function own(path: string): Ownership {
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(`${path}-lock`, { timeout: 0 });
    lock.exec('PRAGMA cache_size = -16; BEGIN EXCLUSIVE');
  } catch (error) {
    if (lock?.isOpen) lock.close();
    if (!isBusy(error)) throw sqliteFault(error, 'unsent');
    throw new Fault('unavailable', 'The database is open in another process.', {
      reason: 'locked',
      details: { remedy: 'Stop the other process that uses this data directory, or give this one its own.' },
      origin: 'unsent',
      cause: error,
    });
  }
  const held = lock;
  return { release: () => (held.isOpen ? held.close() : undefined) };
}
