import { Fault, type FaultOptions } from '../../../src/kernel/fault.ts';
import { type Job, type Outcome, TransactionQueue } from '../shared/transaction-queue.ts';
import { atMost } from '../shared/at-most.ts';
import type { Connection } from './connection.ts';
import { sqliteFault } from './errors.ts';
import { Slice } from './slice.ts';

/** A group closes when nobody waits, or at the first of these. */
const GROUP_TRANSACTIONS = 512;
const GROUP_MS = 8;
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

interface Done {
  readonly job: Job<Turn>;
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
  readonly #groupMs: number;
  readonly #control: { begin(): void; savepoint(): void; release(): void; undo(): void; commit(): void; rollback(): void };
  readonly #slice = new Slice();
  readonly #queue: TransactionQueue<Turn>;

  constructor(connection: Connection, log: LogDurability, events: GroupEvents, { maxWaiting, groupMs = GROUP_MS }: GroupLimits) {
    this.#connection = connection;
    this.#log = log;
    this.#queue = new TransactionQueue(maxWaiting, () => this.#group());
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

  run<T>(work: (turn: Turn) => Promise<T>, timeoutMs: number): Promise<T> {
    return this.#queue.run(work, timeoutMs);
  }

  /**
   * Takes nothing new and finishes what waits; after `deadlineMs` rolls back what is under way and refuses the rest.
   * A disk that does not answer even then is not waited for.
   */
  stop(deadlineMs: number): Promise<void> {
    return atMost(deadlineMs + DISK_MS, this.#queue.stop(deadlineMs));
  }

  async #group(): Promise<void> {
    const done: Done[] = [];
    try {
      await this.#log.whenDurable();
      this.#control.begin();
    } catch (error) {
      this.#fail(this.#queue.takeMany(GROUP_TRANSACTIONS), error, 'unsent');
      return;
    }
    this.#slice.begin();
    const started = performance.now();
    while (this.#connection.inTransaction) {
      const job = this.#queue.take();
      if (job === undefined) break;
      done.push({ job, outcome: await this.#attempt(job, done.every(failed)) });
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
    for (const { outcome } of done) outcome.tell();
    await this.#events.committed(done.length, seconds);
  }

  /** All of the group are told the same: their own outcomes stood on ground that is gone. */
  #fail(jobs: readonly Job<Turn>[], error: unknown, origin: FaultOptions['origin']): void {
    this.#rollBack();
    const fault = sqliteFault(error, origin);
    for (const job of jobs) job.failed(fault).tell();
    this.#events.failed(fault, jobs.length);
  }

  /**
   * `alone`: nothing stands in the group yet, so that undoing this one is undoing everything, which needs no savepoint.
   * Within one SQLite copies every page before its first change.
   */
  async #attempt(job: Job<Turn>, alone: boolean): Promise<Outcome> {
    const turn = new Turn(this.#slice);
    let outcome: Outcome;
    try {
      if (!alone) this.#control.savepoint();
      outcome = await this.#queue.settle(job, turn);
      if (!this.#connection.inTransaction) return outcome;
      if (alone) {
        if (outcome.failure !== undefined) this.#beginAnew();
        return outcome;
      }
      if (outcome.failure !== undefined) this.#control.undo();
      this.#control.release();
    } catch (error) {
      // What this one wrote can no longer be told from its neighbours' writes: none of the group is kept.
      this.#rollBack();
      outcome = job.failed(sqliteFault(error));
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
}

function failed({ outcome }: Done): boolean {
  return outcome.failure !== undefined;
}

/** Why SQLite gave up the whole group: what the transaction that it happened in was told. */
function lastError(done: readonly Done[]): unknown {
  const failure = done.at(-1)?.outcome.failure;
  return failure === undefined ? new Fault('unavailable', 'The database rolled the transaction back.', { reason: 'storage' }) : failure.error;
}
