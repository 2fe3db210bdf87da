import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../../kernel/clock.ts';
import { Fault } from '../../kernel/fault.ts';
import type { Log } from '../../kernel/telemetry.ts';
import { installationText } from '../host/installation.ts';
import { momentOf, type Taking } from './moment.ts';
import { writeBackup } from './write-backup.ts';

/** A backup leaves as much of a disk free as the bus does by default: below it nothing is accepted. */
const MIN_FREE_BYTES = 134_217_728;

export interface BackupProgress {
  readonly state: 'running' | 'done' | 'failed';
  readonly file: string;
  /** The moment that it holds; null while that has not come. */
  readonly created: string | null;
  readonly rows: number;
  /** Compressed. */
  readonly bytes: number;
  /** For how long writing was held back. */
  readonly heldMs: number;
  /** Why it has failed. */
  readonly problem: string | null;
}

export interface BackupsOptions extends Taking {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Backups of an installation whose databases are open, one at a time. */
export class Backups {
  readonly #options: BackupsOptions;
  #progress: BackupProgress | null = null;
  #running: Promise<void> | undefined;
  #abort = new AbortController();

  constructor(options: BackupsOptions) {
    this.#options = options;
  }

  /** Of the backup that was asked for last; null before. */
  get progress(): BackupProgress | null {
    return this.#progress;
  }

  /**
   * Begins one and answers at once. `path` is absolute: a file that is not there yet, or a folder, in which the file is
   * named for the moment. Faults: `conflict` (one is under way, or the file is there), `not_found` (the folder). All
   * else that goes wrong is in the progress.
   */
  begin(path: string): BackupProgress {
    if (this.#running !== undefined) throw new Fault('conflict', `A backup to ${this.#progress!.file} is under way.`, { reason: 'backup_under_way' });
    const file = fileFor(path, new Date(this.#options.clock.now()));
    this.#progress = { state: 'running', file, created: null, rows: 0, bytes: 0, heldMs: 0, problem: null };
    this.#running = this.#run(file).finally(() => (this.#running = undefined));
    return this.#progress;
  }

  /** Until the one under way has ended. */
  async ended(): Promise<BackupProgress> {
    await this.#running;
    return this.#progress!;
  }

  /** Breaks off what is under way; waits so long at most for others to answer. */
  async stop(deadlineMs: number): Promise<void> {
    this.#abort.abort(new Fault('cancelled', 'The host has stopped.', { reason: 'stopped' }));
    await Promise.race([this.#running, pause(deadlineMs, undefined, { ref: false })]);
  }

  async #run(file: string): Promise<void> {
    const { dataDir, clock, log } = this.#options;
    const note = (change: Partial<BackupProgress>) => (this.#progress = { ...this.#progress!, ...change });
    try {
      const installation = installationText(dataDir);
      if (installation === undefined) throw new Fault('not_found', `${dataDir} holds no installation.`, { reason: 'no_installation' });
      const moment = await momentOf(this.#options);
      const { sources, heldMs } = moment;
      try {
        const created = new Date(clock.now());
        note({ created: created.toISOString(), heldMs });
        await writeBackup({ file, sources, created, installation, minFreeBytes: MIN_FREE_BYTES, signal: this.#abort.signal, onProgress: (rows, bytes) => note({ rows, bytes }) });
      } finally {
        await moment.close();
      }
      note({ state: 'done' });
      log.info({ file, rows: this.#progress!.rows, heldMs }, 'backup written');
    } catch (err) {
      note({ state: 'failed', problem: (err as Error).message });
      log.error({ file, err }, 'the backup failed; nothing is left of it');
    }
  }
}

function fileFor(path: string, now: Date): string {
  const isFolder = existsSync(path) && statSync(path).isDirectory();
  const file = isFolder ? join(path, `multilith-${now.toISOString().replace(/[:.]/g, '-')}.backup.gz`) : path;
  if (existsSync(file)) throw new Fault('conflict', `${file} is there already; a backup overwrites nothing.`, { reason: 'file_exists' });
  if (!existsSync(dirname(file))) throw new Fault('not_found', `There is no folder ${dirname(file)}.`, { reason: 'folder_not_found' });
  return file;
}
