import { setTimeout as pause } from 'node:timers/promises';
import { toFault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Migration, Storage } from '../ports/storage.ts';
import type { CatchUp } from './catch-up.ts';
import { problemIn } from './live-move-progress.ts';
import { requireMigrated } from './storage-tables.ts';

/** How often the side that counts is asked for what has changed there, when nothing had. */
const LOOK_MS = 250;
/** And when the other one fails. */
const RETRY_MS = 2_000;

export interface StorageFollowerOptions {
  /** The side that counts, whose changes are recorded. */
  readonly ahead: Storage;
  readonly behind: Storage;
  /** What people call the one behind. */
  readonly name: 'old' | 'new';
  readonly migrations: readonly Migration[];
  /** Undefined where the side behind has not been started yet. */
  readonly catchUp: CatchUp | undefined;
  /** Both sides run and have the tables of this build. */
  pair(): Promise<CatchUp>;
  /** After each time that something was, or would have been, carried over. */
  between(catchUp: CatchUp): Promise<void>;
  /** Why it does not follow just now; null when it does. */
  tell(problem: string | null): void;
  readonly log: Log;
}

/** Keeps one side as the other is, until it is told to stop. */
export class StorageFollower {
  readonly #options: StorageFollowerOptions;
  readonly #running: Promise<void>;
  #catchUp: CatchUp | undefined;
  #isStopping = false;
  #isFailing = false;

  constructor(options: StorageFollowerOptions) {
    this.#options = options;
    this.#catchUp = options.catchUp;
    this.#running = this.#run();
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** Resolves when nothing is carried over any more. */
  stop(): Promise<void> {
    this.#isStopping = true;
    return this.#running;
  }

  async #run(): Promise<void> {
    do await pause(await this.#once());
    while (!this.#isStopping);
  }

  /** Answers after how many milliseconds to look again. */
  async #once(): Promise<number> {
    const { ahead, behind, between, tell } = this.#options;
    try {
      this.#catchUp ??= await this.#pair();
      const count = await this.#catchUp.carry(ahead, behind);
      await between(this.#catchUp);
      this.#isFailing = false;
      tell(null);
      return count === 0 ? LOOK_MS : 0;
    } catch (thrown) {
      this.#tellOf(thrown);
      return RETRY_MS;
    }
  }

  async #pair(): Promise<CatchUp> {
    const { behind, migrations, pair } = this.#options;
    await behind.start();
    await requireMigrated(behind, migrations);
    // Left on when the process was killed that had just switched, or was about to.
    await behind.contents.stopRecording();
    return pair();
  }

  #tellOf(thrown: unknown): void {
    const { name, tell, log } = this.#options;
    if (!this.#isFailing) log.error({ reason: toFault(thrown).reason, err: thrown }, `the ${name} storage does not follow the other one; tried again`);
    this.#isFailing = true;
    tell(`The ${name} storage does not follow: ${problemIn(thrown)}`);
  }
}
