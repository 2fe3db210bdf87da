import type { Clock } from '../kernel/clock.ts';
import { Fault } from '../kernel/fault.ts';

/** Those who passed the gate in one stretch of time. */
interface Passage {
  inside: number;
}

/** What goes to the queues passes here, so that one queue can be held back for a moment, with nobody left inside. */
export class Gate {
  readonly #clock: Clock;
  #passage: Passage = { inside: 0 };
  /** Earlier ones in which somebody still is. */
  readonly #earlier = new Set<Passage>();
  #emptied: (() => void)[] = [];
  #closed: { readonly queue: string; readonly over: PromiseWithResolvers<void> } | undefined;
  #longestMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How long it has been closed at most, ms. */
  get longestMs(): number {
    return Math.round(this.#longestMs);
  }

  /** What to wait for before looking again, when one of these queues is held back. Ask and pass in the same turn. */
  closedFor(addressed: readonly { readonly queue: string }[]): Promise<void> | undefined {
    const closed = this.#closed;
    return closed !== undefined && addressed.some(({ queue }) => queue === closed.queue) ? closed.over.promise : undefined;
  }

  async pass<T>(work: () => Promise<T>): Promise<T> {
    const passage = this.#passage;
    passage.inside++;
    try {
      return await work();
    } finally {
      if (--passage.inside === 0 && this.#earlier.delete(passage) && this.#earlier.size === 0) for (const emptied of this.#emptied.splice(0)) emptied();
    }
  }

  /** Resolves when all have left that are inside now. Fault: `unavailable` when that takes longer than `withinMs`. */
  async empty(withinMs: number): Promise<void> {
    if (this.#passage.inside > 0) {
      this.#earlier.add(this.#passage);
      this.#passage = { inside: 0 };
    }
    if (this.#earlier.size === 0) return;
    await inTime(new Promise<void>((resolve) => this.#emptied.push(resolve)), withinMs, this.#clock, 'What is being published does not finish.');
  }

  /**
   * Holds back what goes to a queue while `work` runs, which must end by itself. Afterwards those who waited look again
   * where the queue is. When `work` throws `Undecided`, they and all who come later get its fault.
   */
  async hold<T>(queue: string, work: () => Promise<T>): Promise<T> {
    const over = Promise.withResolvers<void>();
    over.promise.catch(() => {});
    this.#closed = { queue, over };
    const began = performance.now();
    try {
      const result = await work();
      this.#open(began);
      return result;
    } catch (thrown) {
      if (thrown instanceof Undecided) over.reject(thrown.fault);
      else this.#open(began);
      throw thrown;
    }
  }

  /** Whoever waits gets this fault: nobody opens it any more. */
  close(fault: Fault): void {
    this.#closed?.over.reject(fault);
  }

  #open(began: number): void {
    this.#longestMs = Math.max(this.#longestMs, performance.now() - began);
    const closed = this.#closed;
    this.#closed = undefined;
    closed?.over.resolve();
  }
}

/** Nobody knows on which side a queue is, so that it must be touched on neither until a restart has found out. */
export class Undecided extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.message, { cause: fault });
    this.fault = fault;
  }
}

/** Fault: `unavailable` after that time; the work itself may still end later. */
export async function inTime<T>(work: Promise<T>, ms: number, clock: Clock, otherwise: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = clock.after(ms, () => late.reject(new Fault('unavailable', `${otherwise} It has had ${Math.round(ms)} ms.`, { reason: 'move_too_slow' })));
  return Promise.race([work, late.promise]).finally(() => timer.cancel());
}
