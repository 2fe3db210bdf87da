import { deadlines } from '../../../src/kernel/deadline.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { stopped } from './faults.ts';
import { Fifo } from './fifo.ts';

/** The longest that a transaction waits for its turn. */
const WAIT_MS = 30_000;

/** How a transaction went, and how its caller is told: once its group is committed. */
export interface Outcome {
  /** There when it failed. */
  readonly failure?: { readonly error: unknown };
  tell(): void;
}

/** A transaction that waits for its turn. `T` is the handle through which its work reaches the database. */
export interface Job<T> {
  readonly timeoutMs: number;
  readonly since: number;
  readonly work: (turn: T) => Promise<Outcome>;
  failed(error: unknown): Outcome;
}

/** What a transaction under way may use; closed for good when it has settled. */
interface Closable {
  close(fault: Fault): void;
}

/**
 * The transactions that wait for the one writer, first come, first served. While there are any, `group` is called
 * again and again, each time after a turn of the event loop in which more may join; it takes as many as it likes and
 * settles them one after the other. It must not reject.
 */
export class TransactionQueue<T extends Closable> {
  readonly #waiting = new Fifo<Job<T>>();
  readonly #maxWaiting: number;
  readonly #group: () => Promise<void>;
  #pump: Promise<void> | undefined;
  #refusal: Fault | undefined;
  #expireCurrent: ((fault: Fault) => void) | undefined;

  /** `maxWaiting`: transactions that may wait; one more is refused. */
  constructor(maxWaiting: number, group: () => Promise<void>) {
    this.#maxWaiting = maxWaiting;
    this.#group = group;
  }

  run<R>(work: (turn: T) => Promise<R>, timeoutMs: number): Promise<R> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    if (this.#waiting.length >= this.#maxWaiting) return Promise.reject(tooMany(`More than ${this.#maxWaiting} transactions wait for the database.`));
    return new Promise<R>((resolve, reject) => {
      this.#waiting.push({
        timeoutMs,
        since: Date.now(),
        work: async (turn) => {
          const value = await work(turn);
          return { tell: () => resolve(value) };
        },
        failed: (error) => ({ failure: { error }, tell: () => reject(error) }),
      });
      this.#pump ??= this.#run();
    });
  }

  /** The next whose turn it is. */
  take(): Job<T> | undefined {
    for (let job = this.#waiting.take(); job !== undefined; job = this.#waiting.take()) {
      if (Date.now() - job.since <= WAIT_MS) return job;
      job.failed(tooMany('The transaction waited too long for its turn.')).tell();
    }
    return undefined;
  }

  /** A group that cannot begin. */
  takeMany(most: number): Job<T>[] {
    const jobs: Job<T>[] = [];
    while (jobs.length < most && this.#waiting.length > 0) jobs.push(this.#waiting.take()!);
    return jobs;
  }

  /** The work's outcome, or its deadline's. Never rejects. */
  settle(job: Job<T>, turn: T): Promise<Outcome> {
    return new Promise((resolve) => {
      const finish = (outcome: Outcome, fault: Fault): void => {
        deadlines.remove(entry);
        this.#expireCurrent = undefined;
        turn.close(fault);
        resolve(outcome);
      };
      const expire = (fault: Fault): void => finish(job.failed(fault), fault);
      const entry = { slot: 0, index: -1, expire: () => expire(tookTooLong(job.timeoutMs)) };
      deadlines.add(entry, Date.now() + job.timeoutMs);
      this.#expireCurrent = expire;
      job.work(turn).then(
        (outcome) => finish(outcome, OVER),
        (error: unknown) => finish(job.failed(error), OVER),
      );
    });
  }

  /** Takes nothing new and finishes what waits; after `deadlineMs` ends what is under way with a fault and refuses the rest. */
  async stop(deadlineMs: number): Promise<void> {
    const over = stopped('The storage is stopping.');
    this.#refusal ??= over;
    const timer = setTimeout(() => this.#giveUp(over), deadlineMs);
    await this.#pump;
    clearTimeout(timer);
  }

  #giveUp(fault: Fault): void {
    for (const job of this.takeMany(Number.POSITIVE_INFINITY)) job.failed(fault).tell();
    this.#expireCurrent?.(new Fault('unavailable', 'The storage stopped before the transaction was done; it is rolled back.', { reason: 'stopped' }));
  }

  async #run(): Promise<void> {
    do {
      await new Promise((resolve) => setImmediate(resolve));
      await this.#group();
    } while (this.#waiting.length > 0);
    this.#pump = undefined;
  }
}

const OVER = new Fault('internal', 'The transaction is over; its handle must not be kept.', { reason: 'transaction_over' });

function tookTooLong(timeoutMs: number): Fault {
  return new Fault('deadline', `The transaction did not settle within ${timeoutMs} ms and was rolled back.`, { reason: 'transaction_timeout' });
}

function tooMany(message: string): Fault {
  return new Fault('exhausted', message, { reason: 'transactions_waiting', details: { retryAfterMs: 1_000 }, origin: 'unsent' });
}
