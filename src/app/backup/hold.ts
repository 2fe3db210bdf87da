import { Fault } from '../../kernel/fault.ts';
import type { Storage } from '../../ports/storage.ts';

/**
 * Transactions that do nothing and take the writer's place in databases. They let go by themselves so long after the
 * first has been asked for, whether all of them have come to stand or not.
 */
export class Hold {
  readonly #released = Promise.withResolvers<void>();
  readonly #late = Promise.withResolvers<never>();
  readonly #over: Promise<unknown>[] = [];
  readonly #mostMs: number;
  #timer: NodeJS.Timeout | undefined;
  /** When the first came to stand. */
  #since = 0;
  #isOver = false;

  constructor(mostMs: number) {
    this.#mostMs = mostMs;
    this.#late.promise.catch(() => {});
  }

  /** Resolves when the database stands still. */
  enter(storage: Storage): Promise<void> {
    this.#timer ??= setTimeout(() => this.#giveUp(new Fault('deadline', 'Some had stood still for long enough before others came to rest.', { reason: 'hold_over' })), this.#mostMs);
    const inside = Promise.withResolvers<void>();
    const over = storage.transaction(
      () => {
        this.#since ||= performance.now();
        inside.resolve();
        return this.#released.promise;
      },
      { timeoutMs: this.#mostMs * 2 },
    );
    // One that fails has let its writers go on.
    over.catch((error: unknown) => {
      inside.reject(error);
      this.#giveUp(error);
    });
    inside.promise.catch(() => {});
    this.#over.push(over);
    return this.within(inside.promise);
  }

  /** Faults: `deadline`/`hold_over` when they let go before it has settled. */
  within<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#late.promise]);
  }

  /** Lets them go; answers for how long they have stood still, ms, and whether they did until now. */
  async release(): Promise<{ readonly held: boolean; readonly heldMs: number }> {
    const heldMs = this.#since === 0 ? 0 : Math.round(performance.now() - this.#since);
    if (this.#isOver) return { held: false, heldMs };
    this.#let();
    const ended = await Promise.allSettled(this.#over);
    return { held: ended.every(({ status }) => status === 'fulfilled'), heldMs };
  }

  /** Lets them go, and those that come to stand later at once. After `release` nothing. */
  abandon(): void {
    this.#giveUp(new Fault('cancelled', 'The backup was broken off.', { reason: 'hold_over' }));
  }

  #giveUp(why: unknown): void {
    this.#isOver = true;
    this.#late.reject(why);
    this.#let();
  }

  #let(): void {
    clearTimeout(this.#timer);
    this.#released.resolve();
  }
}
