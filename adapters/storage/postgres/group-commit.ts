import { deadlines } from '../../../src/kernel/deadline.ts';
import { Fault, type FaultOrigin } from '../../../src/kernel/fault.ts';
import { postgresFault, stopped } from './errors.ts';
import { IDLE_IN_TRANSACTION_MS, type Session } from './session.ts';
import { Turn } from './turn.ts';

/** A group closes when nobody waits, or at the first of these. */
const GROUP_TRANSACTIONS = 512;
const GROUP_MS = 10;
/** The longest that a transaction waits for its turn. */
const WAIT_MS = 30_000;
/** How long a statement that is to end may take to do so; then its connection is cut. */
const CANCEL_MS = 2_000;
/** What a stop leaves for a commit under way, beyond its deadline; and the server for saying that a lock is taken. */
const GRACE_MS = 1_000;

type Outcome = { readonly value: unknown } | { readonly error: unknown };

interface Job {
  readonly work: (turn: Turn) => Promise<unknown>;
  readonly timeoutMs: number;
  readonly since: number;
  readonly resolve: (value: any) => void;
  readonly reject: (error: unknown) => void;
}

interface Done {
  readonly job: Job;
  readonly outcome: Outcome;
}

export interface GroupEvents {
  committed(transactions: number, seconds: number): void;
  failed(fault: Fault, transactions: number): void;
}

export interface GroupOptions {
  /** Opens a connection that may write. Throws what pg throws. */
  readonly connect: () => Promise<Session>;
  /** Ends the statement that a connection is at. */
  readonly cancel: (processId: number) => Promise<void>;
  /** Held by the one process, of all that share the schema, whose turn it is to write. */
  readonly lock: bigint;
  /** Transactions that may wait; one more is refused. */
  readonly maxWaiting: number;
  /** The most that the server may take to answer, and another process to let the lock go. */
  readonly answerTimeoutMs: number;
}

/**
 * Runs transactions one after the other, many in one BEGIN … COMMIT, each in a savepoint, so that one trip and one
 * fsync serve them all. A lock of the server's keeps the groups of other processes apart. No transaction is ever run
 * a second time: with one writer at a time none can be refused for what another did. Nothing is answered before the
 * commit, not even a failure: what a transaction saw of its neighbours must not be told while they may still vanish.
 *
 *   idle → (a transaction arrives; the rest of this turn of the event loop may join) → lock → group → commit → idle or lock
 */
export class GroupCommit {
  readonly #options: GroupOptions;
  readonly #events: GroupEvents;
  readonly #waiting: Job[] = [];
  #session: Session | undefined;
  #pump: Promise<void> | undefined;
  #refusal: Fault | undefined;
  #expireCurrent: ((fault: Fault) => void) | undefined;

  constructor(options: GroupOptions, events: GroupEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** Opens the connection, so that a start fails where a transaction would. Throws what pg throws. */
  async open(): Promise<void> {
    await this.#connected();
  }

  run<T>(work: (turn: Turn) => Promise<T>, timeoutMs: number): Promise<T> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    if (this.#waiting.length >= this.#options.maxWaiting) return Promise.reject(tooMany(`More than ${this.#options.maxWaiting} transactions wait for the database.`));
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ work, timeoutMs, since: Date.now(), resolve, reject });
      this.#pump ??= this.#run();
    });
  }

  /**
   * Takes nothing new and finishes what waits; after `deadlineMs` rolls back what is under way and refuses the rest.
   * A server that does not answer even then is not waited for.
   */
  async stop(deadlineMs: number): Promise<void> {
    const over = stopped('The storage is stopping.');
    this.#refusal ??= over;
    const timers = [
      setTimeout(() => this.#giveUp(over), deadlineMs),
      setTimeout(() => this.#session?.destroy(), deadlineMs + GRACE_MS),
    ];
    await this.#pump;
    for (const timer of timers) clearTimeout(timer);
    await this.#session?.close(GRACE_MS);
    this.#session = undefined;
  }

  #giveUp(fault: Fault): void {
    for (const job of this.#waiting.splice(0)) job.reject(fault);
    this.#expireCurrent?.(new Fault('unavailable', 'The storage stopped before the transaction was done; it is rolled back.', { reason: 'stopped' }));
  }

  async #run(): Promise<void> {
    do {
      await new Promise((resolve) => setImmediate(resolve));
      await this.#group();
    } while (this.#waiting.length > 0);
    this.#pump = undefined;
  }

  async #connected(): Promise<Session> {
    if (this.#session?.usable !== true) this.#session = await this.#options.connect();
    return this.#session;
  }

  async #group(): Promise<void> {
    const { lock, answerTimeoutMs } = this.#options;
    let session: Session | undefined;
    try {
      session = await this.#connected();
      await session.controlWithin(`BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(${lock}); SAVEPOINT one`, answerTimeoutMs + GRACE_MS);
    } catch (error) {
      session?.control('ROLLBACK').catch(() => {});
      this.#fail(this.#waiting.splice(0, GROUP_TRANSACTIONS), error, 'unsent');
      return;
    }
    const started = performance.now();
    const done: Done[] = [];
    let next = '';
    // A stop may have emptied the list since the last look.
    while (session.usable && this.#waiting.length > 0) {
      const job = this.#waiting.shift()!;
      if (Date.now() - job.since > WAIT_MS) {
        job.reject(tooMany('The transaction waited too long for its turn.'));
        continue;
      }
      const outcome = await this.#attempt(job, session, next);
      done.push({ job, outcome });
      next = 'error' in outcome ? 'ROLLBACK TO one' : 'RELEASE one; SAVEPOINT one';
      if (done.length === GROUP_TRANSACTIONS || performance.now() - started >= GROUP_MS) break;
    }
    await this.#commit(done, session);
  }

  async #commit(done: readonly Done[], session: Session): Promise<void> {
    const started = performance.now();
    const undo = done.length === 0 || 'error' in done.at(-1)!.outcome;
    let origin: FaultOrigin = 'unsent';
    try {
      if (!session.usable) throw new Fault('unavailable', 'The connection to the database broke; the transaction is rolled back.', { reason: 'storage', origin });
      origin = 'lost';
      const tag = await session.controlWithin(undo ? 'ROLLBACK TO one; COMMIT' : 'COMMIT', this.#options.answerTimeoutMs);
      origin = 'unsent';
      // What the server answers to the COMMIT of a transaction that it has given up.
      if (tag !== 'COMMIT') throw new Fault('unavailable', 'The database rolled the transaction back.', { reason: 'storage', origin });
    } catch (error) {
      session.control('ROLLBACK').catch(() => {});
      this.#fail(done.map(({ job }) => job), error, origin);
      return;
    }
    this.#events.committed(done.length, (performance.now() - started) / 1_000);
    for (const { job, outcome } of done) {
      if ('value' in outcome) job.resolve(outcome.value);
      else job.reject(outcome.error);
    }
  }

  /** All of the group are told the same: their own outcomes stood on ground that is gone. */
  #fail(jobs: readonly Job[], error: unknown, origin: FaultOrigin): void {
    const fault = postgresFault(error, origin);
    for (const job of jobs) job.reject(fault);
    this.#events.failed(fault, jobs.length);
  }

  /** `between` sets this one apart from the one before it; nothing waits for its answer, since statements keep their order. */
  async #attempt(job: Job, session: Session, between: string): Promise<Outcome> {
    const patience = job.timeoutMs > IDLE_IN_TRANSACTION_MS ? `SET LOCAL idle_in_transaction_session_timeout = ${job.timeoutMs + GRACE_MS}` : '';
    const before = [between, patience].filter((text) => text !== '').join('; ');
    if (before !== '') session.control(before).catch(() => {});
    const turn = new Turn(session);
    const outcome = await this.#settle(job, turn);
    if (turn.isWaiting && 'error' in outcome) await this.#end(session, turn);
    await turn.answered();
    // Work that has caught the error of a statement has not made it undone.
    return turn.failure !== undefined && 'value' in outcome ? { error: turn.failure } : outcome;
  }

  async #end(session: Session, turn: Turn): Promise<void> {
    const timer = setTimeout(() => session.destroy(), CANCEL_MS);
    await this.#options.cancel(session.processId).catch(() => {});
    await turn.answered();
    clearTimeout(timer);
  }

  /** The work's outcome, or its deadline's. Never rejects. */
  #settle(job: Job, turn: Turn): Promise<Outcome> {
    return new Promise((resolve) => {
      const finish = (outcome: Outcome, fault: Fault): void => {
        deadlines.remove(entry);
        this.#expireCurrent = undefined;
        turn.close(fault);
        resolve(outcome);
      };
      const expire = (fault: Fault): void => finish({ error: fault }, fault);
      const entry = { slot: 0, index: -1, expire: () => expire(tookTooLong(job.timeoutMs)) };
      deadlines.add(entry, Date.now() + job.timeoutMs);
      this.#expireCurrent = expire;
      start(job, turn).then(
        (value) => finish({ value }, OVER),
        (error: unknown) => finish({ error }, OVER),
      );
    });
  }
}

const OVER = new Fault('internal', 'The transaction is over; its handle must not be kept.', { reason: 'transaction_over' });

async function start(job: Job, turn: Turn): Promise<unknown> {
  return job.work(turn);
}

function tookTooLong(timeoutMs: number): Fault {
  return new Fault('deadline', `The transaction did not settle within ${timeoutMs} ms and was rolled back.`, { reason: 'transaction_timeout' });
}

function tooMany(message: string): Fault {
  return new Fault('exhausted', message, { reason: 'transactions_waiting', details: { retryAfterMs: 1_000 }, origin: 'unsent' });
}
