import type { Compilable, Kysely } from 'kysely';
import { Fault } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { LongReader, Migration, Reader, Snapshot, Statement, Storage, StorageCapabilities, StorageContents, StorageTransaction, TransactionOptions } from '../ports/storage.ts';
import { Undecided } from './gate.ts';

/** Transactions that may wait while they are held back; one more is refused. As many as a storage lets wait for its writer. */
const MOST_HELD = 10_000;

/** A module's database that can be exchanged for another one with the same rows, under the feet of those who use it. */
export class MovableStorage implements Storage {
  #side: Storage;
  #beside: Lifecycle | undefined;
  #held: Promise<void> | undefined;
  #longestHoldMs = 0;
  #waiting = 0;
  #reader: Reader<any> | undefined;

  constructor(side: Storage) {
    this.#side = side;
  }

  /** The one that counts. */
  get side(): Storage {
    return this.#side;
  }

  /** For how long transactions were held back at most, ms. */
  get longestHoldMs(): number {
    return this.#longestHoldMs;
  }

  /** Reads outside transactions go there, long ones apart; undefined: to the side that counts. */
  readWith(reader: Reader<any> | undefined): void {
    this.#reader = reader;
  }

  /** Starts after it and stops before it. */
  accompany(beside: Lifecycle | undefined): void {
    this.#beside = beside;
  }

  /**
   * Runs `work` while no transaction is under way and none begins, those of `work` on the sides themselves apart. What
   * was read before may still be on its way. `work` answers the side that counts from then on. When it throws Undecided,
   * every transaction gets its fault from then on.
   */
  async hold(work: () => Promise<Storage>): Promise<void> {
    while (this.#held !== undefined) await this.#held;
    const began = performance.now();
    const over = Promise.withResolvers<void>();
    // Maybe nobody waits.
    over.promise.catch(() => {});
    this.#held = over.promise;
    try {
      // They run in the order in which they came, one after the other: behind this one there is none.
      await this.#side.transaction(async () => {});
      this.#side = await work();
      this.#release(over, began);
    } catch (thrown) {
      if (thrown instanceof Undecided) over.reject(thrown.fault);
      else this.#release(over, began);
      throw thrown;
    }
  }

  get capabilities(): StorageCapabilities {
    return this.#side.capabilities;
  }

  get problems(): readonly string[] {
    return this.#side.problems;
  }

  get contents(): StorageContents {
    return this.#side.contents;
  }

  get db(): Kysely<any> {
    return (this.#reader ?? this.#side).db;
  }

  run<Params, Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]> {
    return (this.#reader ?? this.#side).run(statement, params);
  }

  transaction<T>(work: (tx: StorageTransaction<any>) => Promise<T>, options?: TransactionOptions): Promise<T> {
    return this.#held === undefined ? this.#side.transaction(work, options) : this.#later(work, options);
  }

  scan<Row>(query: Compilable<Row>, options?: { readonly batchRows?: number; readonly signal?: AbortSignal }): AsyncIterable<Row[]> {
    return this.#side.scan(query, options);
  }

  /** While reads go elsewhere, lists do as well. */
  lists(position?: string | null): LongReader<any> {
    return this.#reader === undefined ? this.#side.lists(position) : this;
  }

  snapshot(): Promise<Snapshot> {
    return this.#side.snapshot();
  }

  migrate(migrations: readonly Migration[]): Promise<void> {
    return this.#side.migrate(migrations);
  }

  async start(): Promise<void> {
    await this.#side.start();
    await this.#beside?.start();
  }

  async stop(deadlineMs: number): Promise<void> {
    const until = performance.now() + deadlineMs;
    await this.#beside?.stop(deadlineMs);
    await this.#side.stop(Math.max(until - performance.now(), 0));
  }

  #release(over: PromiseWithResolvers<void>, began: number): void {
    this.#held = undefined;
    over.resolve();
    this.#longestHoldMs = Math.max(this.#longestHoldMs, Math.round(performance.now() - began));
  }

  async #later<T>(work: (tx: StorageTransaction<any>) => Promise<T>, options?: TransactionOptions): Promise<T> {
    if (this.#waiting >= MOST_HELD) throw new Fault('exhausted', `More than ${MOST_HELD} transactions wait for the move of the data to go on.`, { reason: 'transactions_waiting', details: { retryAfterMs: 1_000 }, origin: 'unsent' });
    this.#waiting++;
    try {
      while (this.#held !== undefined) await this.#held;
    } finally {
      this.#waiting--;
    }
    return this.#side.transaction(work, options);
  }
}
