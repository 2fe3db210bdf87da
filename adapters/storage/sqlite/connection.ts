import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import type { Kysely, QueryResult } from 'kysely';
import { Fault } from '../../../src/kernel/fault.ts';
import { Parameter, type Statement } from '../../../src/ports/storage.ts';
import { stopped, writeOutsideTransaction } from '../shared/faults.ts';
import type { SlowStatements } from '../shared/slow-statements.ts';
import { isWriteOnReader, sqliteFault } from './errors.ts';
import { rowsOf } from './rows.ts';
import type { WalState } from './side-protocol.ts';
import { bindable } from './values.ts';

/** Prepared statements kept per connection, by SQL text; some 3 KB each. */
const STATEMENTS_KEPT = 200;

/** What belongs to the storage itself: a module's own would end the transaction that its neighbours share. */
const RESERVED = /^\s*(?:begin|commit|end|rollback|savepoint|release|attach|detach|pragma|vacuum)\b/i;

/** After these the columns of a prepared statement may be others. */
const CHANGES_SCHEMA = /^\s*(?:create|alter|drop)\b/i;

/** The log is cut back to this when it starts again after a long read or a burst has made it longer. */
const WAL_KEPT_BYTES = 67_108_864;

export interface ConnectionOptions {
  readonly path: string;
  readonly role: 'writer' | 'reader';
  readonly cacheKb: number;
  /** Told of statements that take long. */
  readonly slow?: SlowStatements;
}

interface Prepared {
  readonly text: string;
  readonly native: StatementSync;
  /** Names of what it returns; empty for what returns no rows. */
  readonly columns: readonly string[];
}

interface Bound extends Prepared {
  /** In the order of the placeholders: a parameter's name, or a constant that is bound as it is. */
  readonly slots: readonly (Parameter | { readonly constant: SQLInputValue })[];
}

/** One connection of node:sqlite: opens it with the right pragmas, prepares once, binds with care, speaks in faults. */
export class Connection {
  readonly #database: DatabaseSync;
  readonly #role: 'writer' | 'reader';
  readonly #byText = new Map<string, Prepared>();
  #byStatement = new WeakMap<Statement<any, any>, Bound>();
  #walState: StatementSync | undefined;
  readonly #slow: SlowStatements | undefined;

  constructor(options: ConnectionOptions) {
    this.#role = options.role;
    this.#slow = options.slow;
    try {
      this.#database = open(options);
    } catch (error) {
      throw sqliteFault(error, 'unsent');
    }
  }

  /** False when SQLite has rolled the transaction back by itself, as it does when the disk fails in mid-statement. */
  get inTransaction(): boolean {
    return this.#database.isTransaction;
  }

  /** A statement of the storage's own, run without parameters or rows. Throws what node:sqlite throws. */
  control(sql: string): () => void {
    const native = this.#database.prepare(sql);
    return () => void native.run();
  }

  /** Runs a statement that was built once. */
  run<Params, Row>(statement: Statement<Params, Row>, params: Params, compiler: Kysely<any>): Row[] {
    const bound = this.#byStatement.get(statement) ?? this.#bind(statement, compiler);
    const { slots } = bound;
    const values = new Array<SQLInputValue>(slots.length);
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i]!;
      values[i] = slot instanceof Parameter ? bindable((params as Record<string, unknown>)[slot.name], slot.name) : slot.constant;
    }
    const began = performance.now();
    try {
      if (bound.columns.length > 0) return rowsOf(bound.columns, all(bound.native, values));
      bound.native.run(...values);
      return [];
    } catch (error) {
      throw this.#fault(error);
    } finally {
      this.#tellIfSlow(bound.text, began);
    }
  }

  /** Runs any SQL text; the way that Kysely's builders take. */
  execute<Row>(sql: string, parameters: readonly unknown[]): QueryResult<Row> {
    const values = parameters.map((value, i) => bindable(value, `parameter ${i + 1}`));
    const began = performance.now();
    try {
      const { native, columns } = this.#prepare(sql);
      if (columns.length > 0) return { rows: rowsOf(columns, all(native, values)) };
      const { changes, lastInsertRowid } = native.run(...values);
      if (CHANGES_SCHEMA.test(sql)) this.forget();
      return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
    } catch (error) {
      throw this.#fault(error);
    } finally {
      this.#tellIfSlow(sql, began);
    }
  }

  /** How a statement would be carried out, whatever its values. Throws what node:sqlite throws. */
  explain(sql: string): string {
    const steps = this.#database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all() as unknown as { id: number; parent: number; detail: string }[];
    const depth = new Map<number, number>([[0, 0]]);
    return steps
      .map(({ id, parent, detail }) => {
        const at = depth.get(parent) ?? 0;
        depth.set(id, at + 1);
        return `${'  '.repeat(at)}${detail}`;
      })
      .join('\n');
  }

  /** How long the write-ahead log is; looks without touching it. */
  walState(): WalState {
    this.#walState ??= this.#database.prepare('PRAGMA wal_checkpoint(NOOP)');
    return this.#walState.get() as unknown as WalState;
  }

  /** Prepares anew what is asked for next: for when another connection has changed the tables. */
  forget(): void {
    this.#byText.clear();
    this.#byStatement = new WeakMap();
    // Only a step looks whether the tables are still those that this connection knows; preparing does not.
    this.#database.prepare('SELECT count(*) FROM sqlite_schema').get();
  }

  /** Closing twice does nothing. */
  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #bind(statement: Statement<any, any>, compiler: Kysely<any>): Bound {
    const { sql, parameters } = statement.build(compiler).compile();
    const slots = parameters.map((value, i) => (value instanceof Parameter ? value : { constant: bindable(value, `parameter ${i + 1}`) }));
    try {
      const bound = { ...this.#compile(sql), slots };
      this.#byStatement.set(statement, bound);
      return bound;
    } catch (error) {
      throw this.#fault(error);
    }
  }

  #prepare(sql: string): Prepared {
    const known = this.#byText.get(sql);
    if (known !== undefined) {
      this.#byText.delete(sql);
      this.#byText.set(sql, known);
      return known;
    }
    const prepared = this.#compile(sql);
    this.#byText.set(sql, prepared);
    if (this.#byText.size > STATEMENTS_KEPT) this.#byText.delete(this.#byText.keys().next().value!);
    return prepared;
  }

  #compile(sql: string): Prepared {
    if (RESERVED.test(sql)) throw new Fault('internal', 'Transactions, pragmas and attached files are the storage adapter\'s business.', { reason: 'reserved_statement' });
    if (!this.#database.isOpen) throw stopped('The database is closed.');
    const native = this.#database.prepare(sql);
    native.setReturnArrays(true);
    return { text: sql, native, columns: native.columns().map((column) => column.name) };
  }

  #tellIfSlow(text: string, began: number): void {
    const ms = performance.now() - began;
    if (this.#slow !== undefined && ms >= this.#slow.thresholdMs) this.#slow.took([text], ms);
  }

  #fault(error: unknown): unknown {
    if (this.#role === 'reader' && isWriteOnReader(error)) return writeOutsideTransaction(error);
    if (!this.#database.isOpen) return stopped('The database is closed.');
    return sqliteFault(error);
  }
}

function all(native: StatementSync, values: readonly SQLInputValue[]): SQLOutputValue[][] {
  return native.all(...values) as unknown as SQLOutputValue[][];
}

function open({ path, role, cacheKb }: ConnectionOptions): DatabaseSync {
  // The storage is the only process and has one writer, so that waiting for a lock would only block the event loop.
  const database = new DatabaseSync(path, { timeout: 0, enableForeignKeyConstraints: true, defensive: true });
  try {
    database.exec(`PRAGMA cache_size = -${cacheKb}; PRAGMA mmap_size = 0;`);
    if (role === 'writer') openForWriting(database);
    else database.exec('PRAGMA query_only = ON');
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * NORMAL: SQLite keeps the file consistent through a power cut; that commits survive one is the DurableLog's part.
 * MEMORY: what a savepoint could bring back would otherwise be written to a temporary file, page by page.
 */
function openForWriting(database: DatabaseSync): void {
  const mode = database.prepare('PRAGMA journal_mode = WAL').get();
  if (mode?.journal_mode !== 'wal') throw new Fault('unavailable', 'The file system of the data directory does not allow a write-ahead log.', { reason: 'storage', details: { remedy: 'Put the data directory on a local disk.' } });
  database.exec(`
    PRAGMA synchronous = NORMAL;
    PRAGMA temp_store = MEMORY;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = ${WAL_KEPT_BYTES};
  `);
}
