import { deadlines } from '../../../src/kernel/deadline.ts';
import { Fault, type FaultOptions } from '../../../src/kernel/fault.ts';
import type { Connection } from './connection.ts';
import { sqliteFault } from './errors.ts';
import { Fifo } from './fifo.ts';
import { Slice, nextTurn } from './slice.ts';

/** A group closes when nobody waits, or at the first of these. */
const GROUP_TRANSACTIONS = 512;
const GROUP_MS = 8;
/** The longest that a transaction waits for its turn. */
const WAIT_MS = 30_000;
/** What a stop leaves for a commit under way, beyond its deadline. */
const DISK_MS = 1_000;

/** What a transaction under way may use; closed for good when it has settled. */
export class Turn {
  #fault: Fault | undefined;
  readonly slice: Slice;

  constructor(slice: Slice) {
    this.slice = slice;
  }

  /** Throws when the transaction is over. */
  check(): void {
    if (this.#fault !== undefined) throw this.#fault;
  }

  close(fault: Fault): void {
    this.#fault = fault;
  }
}

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
  /** After each commit, between two groups; the next group begins when it has resolved. Must not throw or reject. */
  committed(transactions: number, seconds: number): Promise<void> | undefined;
  failed(fault: unknown, transactions: number): void;
}

export interface GroupLimits {
  /** Transactions that may wait; one more is refused. */
  readonly maxWaiting: number;
  /** How long a group stays open for those that come. Default 8. */
  readonly groupMs?: number;
}

/** What of the DurableLog a group needs. */
export interface LogDurability {
  sync(): Promise<void> | undefined;
  whenDurable(): Promise<void> | undefined;
}

/**
 * Runs transactions one after the other, many in one BEGIN … COMMIT, each behind the first in a savepoint, so that one
 * fsync serves them all. Nothing is answered and no other group begins before that fsync. Not even a failure is answered: what a
 * transaction saw of its neighbours (a row that is there already) must not be told while they may still vanish.
 *
 *   idle → (a transaction arrives; the rest of this turn of the event loop may join) → group → commit → fsync → idle or group
 */
export class GroupCommit {
  readonly #connection: Connection;
  readonly #log: LogDurability;
  readonly #events: GroupEvents;
  readonly #maxWaiting: number;
  readonly #groupMs: number;
  readonly #control: { begin(): void; savepoint(): void; release(): void; undo(): void; commit(): void; rollback(): void };
  readonly #slice = new Slice();
  readonly #waiting = new Fifo<Job>();
  #pump: Promise<void> | undefined;
  #refusal: Fault | undefined;
  #expireCurrent: ((fault: Fault) => void) | undefined;

  constructor(connection: Connection, log: LogDurability, events: GroupEvents, { maxWaiting, groupMs = GROUP_MS }: GroupLimits) {
    this.#connection = connection;
    this.#log = log;
    this.#maxWaiting = maxWaiting;
    this.#groupMs = groupMs;
    this.#events = events;
    this.#control = {
      begin: connection.control('BEGIN IMMEDIATE'),
      savepoint: connection.control('SAVEPOINT one'),
      release: connection.control('RELEASE one'),
      undo: connection.control('ROLLBACK TO one'),
      commit: connection.control('COMMIT'),
      rollback: connection.control('ROLLBACK'),
    };
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  run<T>(work: (turn: Turn) => Promise<T>, timeoutMs: number): Promise<T> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    if (this.waiting >= this.#maxWaiting) return Promise.reject(tooMany(`More than ${this.#maxWaiting} transactions wait for the database.`));
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ work, timeoutMs, since: Date.now(), resolve, reject });
      this.#pump ??= this.#run();
    });
  }

  /**
   * Takes nothing new and finishes what waits; after `deadlineMs` rolls back what is under way and refuses the rest.
   * A disk that does not answer even then is not waited for.
   */
  async stop(deadlineMs: number): Promise<void> {
    const over = new Fault('unavailable', 'The storage is stopping.', { reason: 'stopped', origin: 'unsent' });
    this.#refusal ??= over;
    const timers: NodeJS.Timeout[] = [];
    const stuck = new Promise<void>((resolve) => {
      timers.push(setTimeout(() => this.#giveUp(over), deadlineMs), setTimeout(resolve, deadlineMs + DISK_MS));
    });
    await Promise.race([this.#pump, stuck]);
    for (const timer of timers) clearTimeout(timer);
  }

  #giveUp(fault: Fault): void {
    for (let job = this.#waiting.take(); job !== undefined; job = this.#waiting.take()) job.reject(fault);
    this.#expireCurrent?.(new Fault('unavailable', 'The storage stopped before the transaction was done; it is rolled back.', { reason: 'stopped' }));
  }

  async #run(): Promise<void> {
    do {
      await nextTurn();
      await this.#group();
    } while (this.waiting > 0);
    this.#pump = undefined;
  }

  async #group(): Promise<void> {
    const done: Done[] = [];
    try {
      await this.#log.whenDurable();
      this.#control.begin();
    } catch (error) {
      const jobs: Job[] = [];
      while (jobs.length < GROUP_TRANSACTIONS && this.waiting > 0) jobs.push(this.#waiting.take()!);
      this.#fail(jobs, error, 'unsent');
      return;
    }
    this.#slice.begin();
    const started = performance.now();
    // A stop may have emptied the list since the last look.
    while (this.#connection.inTransaction && this.waiting > 0) {
      const job = this.#waiting.take()!;
      if (Date.now() - job.since > WAIT_MS) job.reject(tooMany('The transaction waited too long for its turn.'));
      else done.push({ job, outcome: await this.#attempt(job, done.every(failed)) });
      if (done.length === GROUP_TRANSACTIONS || performance.now() - started >= this.#groupMs) break;
    }
    await this.#commit(done);
  }

  async #commit(done: readonly Done[]): Promise<void> {
    const started = performance.now();
    try {
      if (!this.#connection.inTransaction) throw lastError(done);
      this.#control.commit();
      await this.#log.sync();
    } catch (error) {
      this.#fail(done.map(({ job }) => job), error, 'lost');
      return;
    }
    const seconds = (performance.now() - started) / 1_000;
    for (const { job, outcome } of done) {
      if ('value' in outcome) job.resolve(outcome.value);
      else job.reject(outcome.error);
    }
    await this.#events.committed(done.length, seconds);
  }

  /** All of the group are told the same: their own outcomes stood on ground that is gone. */
  #fail(jobs: readonly Job[], error: unknown, origin: FaultOptions['origin']): void {
    this.#rollBack();
    const fault = sqliteFault(error, origin);
    for (const job of jobs) job.reject(fault);
    this.#events.failed(fault, jobs.length);
  }

  /**
   * `alone`: nothing stands in the group yet, so that undoing this one is undoing everything, which needs no savepoint.
   * Within one SQLite copies every page before its first change.
   */
  async #attempt(job: Job, alone: boolean): Promise<Outcome> {
    const turn = new Turn(this.#slice);
    let outcome: Outcome;
    try {
      if (!alone) this.#control.savepoint();
      outcome = await this.#settle(job, turn);
      if (!this.#connection.inTransaction) return outcome;
      if (alone) {
        if ('error' in outcome) this.#beginAnew();
        return outcome;
      }
      if ('error' in outcome) this.#control.undo();
      this.#control.release();
    } catch (error) {
      // What this one wrote can no longer be told from its neighbours' writes: none of the group is kept.
      this.#rollBack();
      outcome = { error: sqliteFault(error) };
    }
    return outcome;
  }

  #beginAnew(): void {
    this.#control.rollback();
    this.#control.begin();
  }

  #rollBack(): void {
    try {
      if (this.#connection.inTransaction) this.#control.rollback();
    } catch {
      // The error that led here says more; SQLite has no transaction left that could be rolled back.
    }
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

function failed({ outcome }: Done): boolean {
  return 'error' in outcome;
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

/** Why SQLite gave up the whole group: what the transaction that it happened in was told. */
function lastError(done: readonly Done[]): unknown {
  const outcome = done.at(-1)?.outcome;
  return outcome !== undefined && 'error' in outcome ? outcome.error : new Fault('unavailable', 'The database rolled the transaction back.', { reason: 'storage' });
}
