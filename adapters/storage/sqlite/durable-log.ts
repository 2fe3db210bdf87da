import { closeSync, fdatasync, openSync } from 'node:fs';
import { Fault } from '../../../src/kernel/fault.ts';
import { sideThread } from './side-thread.ts';

/**
 * Brings the write-ahead log to the disk after each commit, off the event loop, and knows whether it is there.
 *
 *   sound → (a commit) → syncing → sound
 *                           └→ (the disk fails) → broken → (all copied into the database, log cut to nothing) → sound
 *
 * Broken is a state of its own because an fsync that failed has not happened, and the next one that succeeds says
 * nothing about it: the system may have dropped the pages (LWN, "PostgreSQL's fsync() surprise"). What was committed
 * then may be a hole in the log, before which recovery would stop, whatever came after it. So nothing is written or
 * read until the database itself holds everything and the log begins anew.
 */
export class DurableLog {
  readonly #path: string;
  readonly #enabled: boolean;
  readonly #onBroken: (fault: Fault) => void;
  #file: number | undefined;
  #syncing: Promise<void> | undefined;
  #restoring: Promise<void> | undefined;
  #broken = false;

  constructor(path: string, durability: 'power-loss' | 'process-crash', onBroken: (fault: Fault) => void) {
    this.#path = path;
    this.#enabled = durability === 'power-loss';
    this.#onBroken = onBroken;
  }

  /** After a commit. Rejects with `unavailable` or `exhausted`, origin `lost`: nobody knows what a power cut would leave. */
  sync(): Promise<void> | undefined {
    if (!this.#enabled) return undefined;
    return (this.#syncing = this.#sync().finally(() => {
      this.#syncing = undefined;
    }));
  }

  /**
   * Nothing when all that can be seen would survive a power cut; else a promise for it, which rejects with
   * `unavailable` while the disk fails.
   */
  whenDurable(): Promise<void> | undefined {
    return this.#syncing === undefined && !this.#broken ? undefined : this.#settle();
  }

  close(): void {
    // A disk that does not answer keeps its file: its number must not come to mean another file.
    if (this.#file !== undefined && this.#syncing === undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  async #settle(): Promise<void> {
    await this.#syncing?.catch(() => {});
    if (this.#broken) await (this.#restoring ??= this.#restore().finally(() => (this.#restoring = undefined)));
  }

  async #sync(): Promise<void> {
    try {
      // SQLite's locks lie on the database and on -shm, so that closing this file later frees none of them.
      const file = (this.#file ??= openSync(`${this.#path}-wal`, 'r+'));
      await new Promise<void>((resolve, reject) => fdatasync(file, (error) => (error ? reject(error) : resolve())));
    } catch (error) {
      this.#broken = true;
      const fault = notWritten(error);
      this.#onBroken(fault);
      throw fault;
    }
  }

  /** No group is open meanwhile: the next one waits for this too. */
  async #restore(): Promise<void> {
    const state = await sideThread.checkpoint(this.#path, 'TRUNCATE').catch((error: unknown) => ({ error }));
    if ('error' in state || state.busy !== 0) {
      throw new Fault('unavailable', 'The disk failed, and what the log holds could not be brought to safety yet.', {
        reason: 'storage',
        details: { remedy: REMEDY },
        origin: 'unsent',
        cause: 'error' in state ? state.error : undefined,
      });
    }
    this.#broken = false;
  }
}

const REMEDY = 'Check the disk under the data directory (kernel log, SMART).';

function notWritten(cause: unknown): Fault {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new Fault('exhausted', 'The disk is full.', { reason: 'disk_full', details: { remedy: 'Free space on the disk of the data directory.' }, origin: 'lost', cause });
  }
  return new Fault('unavailable', 'The disk did not confirm that the transaction is written.', { reason: 'storage', details: { remedy: REMEDY }, origin: 'lost', cause });
}
