import type { Compilable, Kysely } from 'kysely';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { MessageDefinition, PublishOptions } from '../kernel/message.ts';

/*
 * Storage in three faces. `Storage` is what an adapter implements: one module's database, nobody else's.
 * `Store` is what a module injects: the same database with the module's outbox inside its transactions.
 * `StorageContents` is what a move to another adapter sees: tables and rows, whatever they mean.
 *
 * Portable data, the same on every adapter: ids and JSON are text, times are whole epoch milliseconds, yes and no
 * are 1 and 0, bytes are Uint8Array. Numbers come back as numbers (a value beyond 2^53 is a fault), never as strings.
 */

/** Yes and no, as every adapter keeps them. */
export type Bit = 0 | 1;

/** Where adapters differ. Checked at boot against what a module asks for, never discovered at run time. */
export interface StorageCapabilities {
  /** More than one process may open the same database. */
  readonly shared: boolean;
  /** Rows can be claimed with FOR UPDATE SKIP LOCKED; otherwise there is one writer at a time. */
  readonly skipLocked: boolean;
}

/**
 * Stands among the migrations of a database that is being filled from a backup. As no build knows it, no host starts on
 * such a database.
 */
export const UNFINISHED = 'restore-unfinished';

/** A migration runs once, in a transaction of its own, in the order of the list. Released ones never change. */
export interface Migration {
  /** Unique within the database, e.g. `0001-people`. */
  readonly name: string;
  // A migration's schema is that of its day, not today's.
  up(db: Kysely<any>): Promise<void>;
}

/** Stands for a value that is given when the statement runs. */
export class Parameter {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/**
 * A statement built once with Kysely and compiled once per adapter: about a tenth of the cost of building the
 * query each time. For the hot paths; everything else uses `db`.
 */
export interface Statement<Params, Row> {
  readonly build: (db: Kysely<any>) => Compilable<Row>;
  /** Never set; carries the type. */
  readonly params?: Params;
}

export type ParameterOf<Params> = <K extends keyof Params & string>(name: K) => Params[K];

/**
 * @example
 * const byId = statement<Tables, { id: string }>()((db, p) =>
 *   db.selectFrom('people').selectAll().where('id', '=', p('id')));
 * const [row] = await tx.run(byId, { id });
 */
export function statement<DB, Params>() {
  return <Row>(build: (db: Kysely<DB>, parameter: ParameterOf<Params>) => Compilable<Row>): Statement<Params, Row> => ({
    // Kysely sees the placeholder as the value that it stands for; the adapter swaps it when the statement runs.
    build: (db) => build(db as Kysely<DB>, ((name: string) => new Parameter(name)) as unknown as ParameterOf<Params>),
  });
}

/** Reads committed state: what is read here has survived, or would survive, a power cut. */
export interface Reader<DB> {
  readonly db: Kysely<DB>;
  run<Params, Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]>;
}

/** A reader that long reads can be made with, too. */
export interface LongReader<DB> extends Reader<DB> {
  /**
   * A long read off the event loop, in batches, over one snapshot. Memory is bounded by two batches; a consumer
   * that stops early frees the reader.
   */
  scan<Row>(query: Compilable<Row>, options?: { readonly batchRows?: number; readonly signal?: AbortSignal }): AsyncIterable<Row[]>;
}

/** A transaction under way. Not to be kept or used once `work` has settled: a fault `internal` says so. */
export interface StorageTransaction<DB> extends Reader<DB> {
  /** For `lists`: what a reader must have seen to see this transaction. Null where no reader is ever behind. */
  readonly position: string | null;
  /**
   * The same as to run it for each of these in turn, and the rows of all of them, in any order: a statement that adds rows
   * is one for many of them where a database charges by the statement. Takes what it needs of `all` at once.
   */
  runMany<Params, Row>(statement: Statement<Params, Row>, all: readonly Params[]): Promise<Row[]>;
}

export interface TransactionOptions {
  /** Rolls back with a fault `deadline` when `work` has not settled by then. Default 5,000; at most 60,000. */
  readonly timeoutMs?: number;
}

/** A table as it stands in a database. */
export interface TableShape {
  readonly name: string;
  /** In the order of the table. */
  readonly columns: readonly string[];
  /** The column that the database numbers by itself, rising; null when there is none. */
  readonly numbered: string | null;
  /** Columns of the primary key, in its order; empty when there is none. */
  readonly key: readonly string[];
}

/**
 * One committed state of a whole database, held while writers go on. Meanwhile it keeps a connection, and on SQLite the
 * write-ahead log from being cut back.
 */
export interface Snapshot {
  /** In the order of their making, so that none refers to one behind it. The list of migrations, `migrations` (name, applied), is one of them. */
  readonly tables: readonly TableShape[];
  /** Every row of a table in batches, off the event loop; by the numbered column where there is one, or where asked by the key. One table at a time. */
  rows(table: TableShape, options?: { readonly batchRows?: number; readonly byKey?: boolean }): AsyncIterable<Readonly<Record<string, unknown>>[]>;
  /** Ends what is being read. Twice does nothing. */
  close(): Promise<void>;
}

/** How one of the servers is doing that a storage stands on. */
export interface StorageCheck {
  /** `replica`: one that can be done without. */
  readonly part: 'server' | 'replica';
  readonly ok: boolean;
  /** For people, without addresses and secrets. */
  readonly detail: string;
  /** What to do; left out when nothing is to be done. */
  readonly remedy?: string;
}

/**
 * One module's database. Reads outside a transaction see what is committed; writes outside one are refused.
 * Faults: `conflict` with reason `unique` (details.constraint), `conflict` with reason `foreign_key`, `not_null` or
 * `check`, `unavailable` (locked by another process, disk read-only, failing or broken; details.remedy),
 * `exhausted` (disk full, or too many transactions waiting), `deadline`.
 */
export interface Storage<DB = any> extends LongReader<DB>, Lifecycle {
  readonly capabilities: StorageCapabilities;
  /** What it does without just now though it serves, for people; empty when all is well. */
  readonly problems: readonly string[];
  /** Looks, without a start, whether the servers that it stands on are there; changes nothing. Left out by an adapter that stands on none. */
  check?(): Promise<readonly StorageCheck[]>;
  /**
   * Runs `work` and commits; resolves when the commit would survive power loss. Concurrent transactions share one
   * fsync; each commits or rolls back by itself, and they behave as if they had run one after the other.
   * `work` talks to this database only: while it waits for anything else, every other writer waits too.
   * A throw rolls back and rejects with what was thrown. So may a statement's fault that `work` catches: some databases
   * take nothing more in a transaction in which a statement has failed.
   */
  transaction<T>(work: (tx: StorageTransaction<DB>) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /**
   * For lists and reports: where the adapter has a server that follows the one written to, reads come from there and may
   * be behind, by no more than the configuration allows; each sees at least the transaction whose `position` is given. A
   * server that is away, too far behind or not what it should be is no fault: the read is then like any other. Only a
   * `scan` that has begun may end with `unavailable`; made again it begins elsewhere. A position of another database
   * asks for nothing.
   */
  lists(position?: string | null): LongReader<DB>;
  /** The state that is committed when it resolves, or one in between. Faults: `unavailable`, `exhausted` (no connection free). */
  snapshot(): Promise<Snapshot>;
  /** Applies what is missing. Refuses a database that has migrations which this build does not know. */
  migrate(migrations: readonly Migration[]): Promise<void>;
  /** For taking everything to another adapter. */
  readonly contents: StorageContents;
}

export type StoredValue = string | number | Uint8Array | null;
export type StoredRow = Readonly<Record<string, StoredValue>>;

/** What changed while it was recorded, in the order of `seq`: the table, and the row's key as a JSON array. */
export const CHANGES = 'storage_changes';
export interface ChangeRow {
  readonly seq: number;
  readonly table_name: string;
  readonly row_key: string;
}

/** An index that is no part of a constraint; `create` is the statement that makes it, in the adapter's own words. */
export interface IndexDefinition {
  readonly name: string;
  readonly create: string;
}

/** The whole of a started database, whatever is in it. Faults as of Storage. */
export interface StorageContents {
  /** Where it lies, without secrets and also before the start. Two storages of one place are one database. */
  readonly place: string;
  /** About so much disk it takes. */
  bytes(): Promise<number>;
  /** What the disk under it has left; null where only the server could tell. */
  freeBytes(): Promise<number | null>;
  /** Connections of other processes to it just now; always 0 where there can be none. */
  othersConnected(): Promise<number>;
  indexes(): Promise<IndexDefinition[]>;
  /** However long it takes; where it is there already, nothing. */
  makeIndex(index: IndexDefinition): Promise<void>;
  /**
   * From its commit on every change of these tables, which have a key, leaves a row in the table CHANGES, in the transaction
   * that makes it. Twice does nothing.
   */
  startRecording(tables: readonly TableShape[]): Promise<void>;
  /** And forgets what was recorded. Where nothing is, nothing. */
  stopRecording(): Promise<void>;
  /** Work for a transaction that adds rows as they are, their own values in a numbered column. Takes what it needs of them at once. */
  insertion(table: TableShape, rows: readonly StoredRow[]): (tx: StorageTransaction<any>) => Promise<void>;
  /** The last number that a numbered table has given out; 0 before the first. */
  lastNumber(table: TableShape): Promise<number>;
  /** The next number will be the one after it. */
  setLastNumber(tx: StorageTransaction<any>, table: TableShape, last: number): Promise<void>;
}

/** A transaction as a module sees it: state and the messages that tell of it commit together. */
export interface Transaction<DB> extends StorageTransaction<DB> {
  /**
   * Puts a message into the module's outbox; it leaves for the bus after the commit, and not at all without one.
   * A payload that breaks the message's schema is found by the strict placement, and on arrival from another host.
   */
  publish<P>(message: MessageDefinition<P>, payload: P, options: PublishOptions): Promise<void>;
}

/** A module's own database with its outbox inside. Injected by this token. */
export interface Store<DB> extends LongReader<DB> {
  readonly capabilities: StorageCapabilities;
  transaction<T>(work: (tx: Transaction<DB>) => Promise<T>, options?: TransactionOptions): Promise<T>;
  lists: Storage<DB>['lists'];
}
export const Store = Symbol.for('multilith.Store');
