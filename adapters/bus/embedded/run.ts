import type { Flight } from './queue.ts';
import type { Worker } from './worker.ts';

/**
 * What one consumer takes at once and handles one after the other, in one of its places: a message, and on an ordered
 * queue with fast handlers the next ones of its key. Without them each message of a key would cost a whole round of
 * the bus: a long line of one key would go as slowly as everything else that the bus writes.
 */
export class Run {
  readonly worker: Worker;
  readonly flights: Flight[] = [];
  /** Those whose outcome is not yet on disk; the place is free when there are none. */
  open = 0;

  constructor(worker: Worker) {
    this.worker = worker;
  }
}

/** A run keeps its place for about so long: what waits for a place waits no longer because of keys with long lines. */
export const RUN_MS = 20;
/** Messages of one run, and those of all runs of a queue that wait behind the first: a crash costs each of them a try. */
export const LONGEST_RUN = 64;
export const MOST_FOLLOWING = 128;
/** What the payloads of one run have together, the first and the last apart. */
export const RUN_CHARACTERS = 256 * 1024;

/** How long handlers take, lately: a moving average that begins with the worst, so that nothing runs in line before it is known. */
export class Pace {
  #meanMs = RUN_MS;

  note(ms: number): void {
    this.#meanMs += (Math.min(ms, 10 * RUN_MS) - this.#meanMs) / 8;
  }

  /** How many messages fit into a run; at least one. */
  get fitting(): number {
    return Math.max(1, Math.min(LONGEST_RUN, Math.floor(RUN_MS / this.#meanMs)));
  }
}
