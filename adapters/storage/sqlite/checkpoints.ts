import type { Log } from '../../../src/kernel/telemetry.ts';
import { atMost } from '../shared/at-most.ts';
import type { Connection } from './connection.ts';
import type { WalState } from './side-protocol.ts';
import { sideThread } from './side-thread.ts';

/** What a frame takes in the log: a page and its header. */
export const FRAME_BYTES = 4_096 + 24;
/** The log starts again from its beginning once it has all been copied; writers are held up for that beyond this. */
const HOLD_UP_AFTER = 4;
/** … and for no longer than this: a log that grows is better than a standstill. */
const HOLD_UP_MS = 2_000;

/**
 * Copies the write-ahead log into the database when it has grown enough, in the side thread while writers go on.
 * Under a constant stream of writes there is always a rest that was written meanwhile, and the log would grow for
 * ever; so at four times the size writers wait, between two groups, until that rest is copied as well.
 */
export class Checkpoints {
  readonly #writer: Connection;
  readonly #path: string;
  readonly #frames: number;
  readonly #log: Log;
  #underWay: Promise<void> | undefined;
  /** The length of the log at which the next copy begins; grows while a long read keeps it from starting again. */
  #next: number;

  constructor(writer: Connection, path: string, checkpointKb: number, log: Log) {
    this.#writer = writer;
    this.#path = path;
    this.#frames = Math.ceil((checkpointKb * 1_024) / FRAME_BYTES);
    this.#next = this.#frames;
    this.#log = log;
  }

  /** Between two groups. What it returns is to be awaited before the next one. Never throws, never rejects. */
  afterCommit(): Promise<void> | undefined {
    const state = this.#look();
    if (state === undefined) return undefined;
    // The log has started again.
    if (state.log < this.#next - this.#frames) this.#next = this.#frames;
    if (this.#underWay === undefined) {
      if (state.log < this.#next || state.log === state.checkpointed) return undefined;
      this.#underWay = this.#copy().finally(() => {
        this.#underWay = undefined;
      });
    }
    return state.log >= HOLD_UP_AFTER * this.#frames ? atMost(HOLD_UP_MS, this.#underWay) : undefined;
  }

  /**
   * Before the last connection closes, which would copy the rest on this thread. Ends at the deadline all the same:
   * what is not copied by then stays in the log, where the next start finds it.
   */
  finish(deadlineMs: number): Promise<void> {
    return atMost(deadlineMs, this.#copyRest());
  }

  async #copyRest(): Promise<void> {
    await this.#underWay;
    const state = this.#look();
    if (state !== undefined && state.log - state.checkpointed >= this.#frames / 2) await this.#copy();
  }

  #look(): WalState | undefined {
    try {
      return this.#writer.walState();
    } catch {
      // The disk fails; the next commit will say so to those whom it concerns.
      return undefined;
    }
  }

  /** A failure is no harm to what is committed: the log keeps it, and the next commit tries again. */
  async #copy(): Promise<void> {
    try {
      const { log } = await sideThread.checkpoint(this.#path, 'PASSIVE');
      this.#next = log + this.#frames;
    } catch (error) {
      this.#log.warn({ err: error }, 'The write-ahead log could not be copied into the database; it grows until it can.');
    }
  }
}
