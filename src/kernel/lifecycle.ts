/**
 * Whatever starts can stop: before it started, twice, in the middle of starting, and within a deadline.
 * `start` resolves when the part is ready for work (warm). `stop` finishes what is under way, refuses what is
 * new, closes every handle, and resolves; after `deadlineMs` it gives up waiting and closes all the same.
 */
export interface Lifecycle {
  start(): Promise<void>;
  stop(deadlineMs: number): Promise<void>;
}

/** Waits for all, whatever becomes of each of them; then rejects with what went wrong. */
export async function allTried(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  throwAll(results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : [])));
}

/** Throws the problem of a stop, all of them as one, or nothing when there are none. */
export function throwAll(problems: readonly unknown[]): void {
  if (problems.length > 0) throw problems.length === 1 ? problems[0] : new AggregateError(problems, 'Some parts did not stop as they should.');
}

type State = 'idle' | 'starting' | 'running' | 'stopping' | 'stopped';

/** Gives a start and a stop function the Lifecycle's manners: single flight, idempotent, stop during start. */
export class StartStop implements Lifecycle {
  #state: State = 'idle';
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  readonly #onStart: () => Promise<void> | void;
  readonly #onStop: (deadlineMs: number) => Promise<void> | void;

  constructor(onStart: () => Promise<void> | void, onStop: (deadlineMs: number) => Promise<void> | void) {
    this.#onStart = onStart;
    this.#onStop = onStop;
  }

  get state(): State {
    return this.#state;
  }

  start(): Promise<void> {
    if (this.#state === 'idle') {
      this.#state = 'starting';
      this.#starting = Promise.resolve()
        .then(this.#onStart)
        .then(() => {
          if (this.#state === 'starting') this.#state = 'running';
        });
    }
    return this.#starting ?? Promise.resolve();
  }

  stop(deadlineMs: number): Promise<void> {
    if (this.#stopping) return this.#stopping;
    if (this.#state === 'idle') {
      this.#state = 'stopped';
      return (this.#stopping = Promise.resolve());
    }
    this.#state = 'stopping';
    const started = (this.#starting ?? Promise.resolve()).catch(() => {});
    this.#stopping = started
      .then(() => this.#onStop(deadlineMs))
      .finally(() => {
        this.#state = 'stopped';
      });
    return this.#stopping;
  }
}
