import { Fault, type FaultOrigin } from '../../../src/kernel/fault.ts';
import type { GroupTelemetry } from '../shared/group-telemetry.ts';
import { type Job, type Outcome, TransactionQueue } from '../shared/transaction-queue.ts';
import { postgresFault } from './errors.ts';
import { positionOf } from './position.ts';
import { IDLE_IN_TRANSACTION_MS, type Mark, type Session } from './session.ts';
import { Turn } from './turn.ts';

/** A group closes when nobody waits, or at the first of these. */
const GROUP_TRANSACTIONS = 512;
const GROUP_MS = 100;
/** How long a statement of a transaction that has failed may go on before it is told to end. */
const PATIENCE_MS = 50;
/** How long a statement that is to end may take to do so; then its connection is cut. */
const CANCEL_MS = 2_000;
/** What a stop leaves for a commit under way, beyond its deadline; and the server for saying that a lock is taken. */
const GRACE_MS = 1_000;

/** Behind a transaction that stands so far, and behind one that is undone. */
const NEXT: Mark = { normally: ['RELEASE one', 'SAVEPOINT one'], afterFailure: ['ROLLBACK TO one'] };
const NEXT_INSTEAD: Mark = { normally: NEXT.afterFailure, afterFailure: NEXT.afterFailure };
const END: Mark = { normally: ['COMMIT'], afterFailure: ['ROLLBACK TO one', 'COMMIT'] };
const END_INSTEAD: Mark = { normally: END.afterFailure, afterFailure: END.afterFailure };

interface Done {
  readonly job: Job<Turn>;
  readonly turn: Turn;
  readonly outcome: Outcome;
}

export interface GroupOptions {
  /** Opens a connection that may write. Throws what pg throws. */
  readonly connect: () => Promise<Session>;
  /** Ends the statement that a connection is at. */
  readonly cancel: (processId: number) => Promise<void>;
  /** Told when another process has changed the tables: statements must be prepared anew. */
  readonly schemaChanged: () => void;
  /** The server's own number; given, transactions tell their position. */
  readonly system?: string | undefined;
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
  readonly #telemetry: GroupTelemetry;
  readonly #queue: TransactionQueue<Turn>;
  #session: Session | undefined;

  constructor(options: GroupOptions, telemetry: GroupTelemetry) {
    this.#options = options;
    this.#telemetry = telemetry;
    this.#queue = new TransactionQueue(options.maxWaiting, () => this.#group());
  }

  /** Opens the connection, so that a start fails where a transaction would. Throws what pg throws. */
  async open(): Promise<void> {
    await this.#connected();
  }

  run<T>(work: (turn: Turn) => Promise<T>, timeoutMs: number): Promise<T> {
    return this.#queue.run(work, timeoutMs);
  }

  /**
   * Takes nothing new and finishes what waits; after `deadlineMs` rolls back what is under way and refuses the rest.
   * A server that does not answer even then is not waited for.
   */
  async stop(deadlineMs: number): Promise<void> {
    const timer = setTimeout(() => this.#session?.destroy(), deadlineMs + GRACE_MS);
    await this.#queue.stop(deadlineMs);
    clearTimeout(timer);
    await this.#session?.close(GRACE_MS);
    this.#session = undefined;
  }

  async #connected(): Promise<Session> {
    if (this.#session?.usable !== true) this.#session = await this.#options.connect();
    return this.#session;
  }

  async #group(): Promise<void> {
    const { lock, answerTimeoutMs, system } = this.#options;
    let session: Session | undefined;
    let position: string | null = null;
    try {
      session = await this.#connected();
      const begin = `BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(${lock}); SAVEPOINT one${system === undefined ? '' : '; SELECT pg_current_xact_id()::text AS transaction'}`;
      const [row] = await session.within(answerTimeoutMs + GRACE_MS, session.control(begin));
      if (system !== undefined) position = positionOf(system, row!.transaction as string);
    } catch (error) {
      session?.control('ROLLBACK').catch(() => {});
      this.#fail(this.#queue.takeMany(GROUP_TRANSACTIONS), error, 'unsent');
      return;
    }
    const started = performance.now();
    const done: Done[] = [];
    while (session.usable) {
      const job = this.#queue.take();
      if (job === undefined) break;
      if (done.length > 0) session.mark(isUndone(done) ? NEXT_INSTEAD : NEXT).catch(() => {});
      done.push(await this.#attempt(job, session, position, done));
      // The time that a long one was given ends with the COMMIT.
      if (done.length === GROUP_TRANSACTIONS || performance.now() - started >= GROUP_MS || isLong(job)) break;
    }
    await this.#commit(done, session);
  }

  async #commit(done: readonly Done[], session: Session): Promise<void> {
    const started = performance.now();
    let origin: FaultOrigin = 'unsent';
    try {
      if (!session.usable) throw new Fault('unavailable', 'The connection to the database broke; the transaction is rolled back.', { reason: 'storage', origin });
      origin = 'lost';
      const { command } = await session.within(this.#options.answerTimeoutMs + leftFor(done), session.mark(isUndone(done) ? END_INSTEAD : END));
      origin = 'unsent';
      // What the server answers to the COMMIT of a transaction that it has given up.
      if (command !== 'COMMIT') throw new Fault('unavailable', 'The database rolled the transaction back.', { reason: 'storage', origin });
    } catch (error) {
      session.destroy();
      this.#fail(done.map(({ job }) => job), error, origin);
      return;
    }
    this.#telemetry.committed(done.length, (performance.now() - started) / 1_000);
    for (const one of done) finalOf(one).tell();
  }

  /** All of the group are told the same: their own outcomes stood on ground that is gone. */
  #fail(jobs: readonly Job<Turn>[], error: unknown, origin: FaultOrigin): void {
    const fault = postgresFault(error, origin);
    for (const job of jobs) job.failed(fault).tell();
    this.#telemetry.failed(fault, jobs.length);
  }

  /**
   * Answers when the work is done, though its last writes may still be on their way: the next one begins meanwhile. Should
   * one of them fail, the session takes back this transaction alone and sends again what stands behind it.
   */
  async #attempt(job: Job<Turn>, session: Session, position: string | null, before: readonly Done[]): Promise<Done> {
    const turn = new Turn(session, position, this.#options.schemaChanged);
    if (isLong(job)) session.mark(idleFor(job)).catch(() => {});
    const outcome = await this.#queue.settle(job, turn);
    if (turn.isWaiting && outcome.failure !== undefined) {
      await session.within(leftFor(before) + GRACE_MS, Promise.all(before.map((one) => one.turn.answered())));
      await this.#end(session, turn);
    }
    // One with so much time may need it for its last writes, and the next has its own deadline.
    if (turn.isFull || isLong(job)) await session.within(job.timeoutMs + GRACE_MS, turn.answered());
    return { job, turn, outcome };
  }

  /** Only once those before it are answered: the server would end the statement of another one. */
  async #end(session: Session, turn: Turn): Promise<void> {
    if (await answersWithin(PATIENCE_MS, turn)) return;
    const timer = setTimeout(() => session.destroy(), CANCEL_MS);
    await this.#options.cancel(session.processId).catch(() => {});
    await turn.answered();
    clearTimeout(timer);
  }
}

/** One that may stand still for longer than others must. */
function isLong({ timeoutMs }: Job<Turn>): boolean {
  return timeoutMs > IDLE_IN_TRANSACTION_MS;
}

/** Has the server be as patient. */
function idleFor({ timeoutMs }: Job<Turn>): Mark {
  const statements = [`SET LOCAL idle_in_transaction_session_timeout = ${timeoutMs + GRACE_MS}`];
  return { normally: statements, afterFailure: statements };
}

/** True when the last one is to be taken back. */
function isUndone(done: readonly Done[]): boolean {
  return done.length === 0 || done.at(-1)!.outcome.failure !== undefined;
}

/** What last writes that are still on their way may take, in milliseconds. */
function leftFor(done: readonly Done[]): number {
  return done.reduce((most, { job, turn }) => (turn.isWaiting ? Math.max(most, job.timeoutMs) : most), 0);
}

/** Work that has caught the error of a statement, or has not waited for it, has not made it undone. */
function finalOf({ job, turn, outcome }: Done): Outcome {
  const failure = outcome.failure === undefined ? turn.failure : turn.unseenFailure;
  return failure === undefined ? outcome : job.failed(failure);
}

async function answersWithin(ms: number, turn: Turn): Promise<boolean> {
  let timer: NodeJS.Timeout;
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(resolve, ms, false)));
  return Promise.race([turn.answered().then(() => true), late]).finally(() => clearTimeout(timer));
}
