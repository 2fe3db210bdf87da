import type { Compilable, Kysely } from 'kysely';
import type { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import type { Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { Migration, Snapshot, Statement, Storage, StorageCapabilities, StorageTransaction, TransactionOptions } from '../../../src/ports/storage.ts';
import { stopped } from '../shared/faults.ts';
import { groupTelemetry } from '../shared/group-telemetry.ts';
import { batchRowsOf, MIGRATION_TIMEOUT_MS, timeoutOf } from '../shared/limits.ts';
import { migrate } from '../shared/migrations.ts';
import { SlowStatements } from '../shared/slow-statements.ts';
import { atMost } from '../shared/at-most.ts';
import { Checkpoints } from './checkpoints.ts';
import { Connection } from './connection.ts';
import { SqliteContents } from './contents.ts';
import { kyselyOver } from './dialect.ts';
import { DurableLog } from './durable-log.ts';
import type { SqliteSettings } from './driver.ts';
import { GroupCommit, type GroupEvents, type Turn } from './group-commit.ts';
import { migrationStatements } from './migrations.ts';
import { own, type Ownership } from './ownership.ts';
import { scan } from './scan.ts';
import { sideThread } from './side-thread.ts';
import { openSnapshot } from './snapshot.ts';
import { bindable } from './values.ts';

export interface SqliteStorageOptions {
  readonly settings: SqliteSettings;
  readonly name: string;
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What is open while the storage runs. */
interface Open {
  readonly ownership: Ownership;
  readonly slow: SlowStatements;
  readonly writer: Connection;
  readonly reader: Connection;
  readonly log: DurableLog;
  readonly commits: GroupCommit;
  readonly checkpoints: Checkpoints;
  /** Ends the scans under way. */
  scans: AbortController;
}

/**
 * One database file in WAL mode: one writer that commits in groups, one reader that sees what is committed, both on
 * this thread; checkpoints and long reads on another.
 */
export class SqliteStorage implements Storage {
  readonly capabilities: StorageCapabilities = { shared: false, skipLocked: false };
  readonly problems: readonly string[] = [];
  readonly db: Kysely<any>;
  readonly contents: SqliteContents;
  readonly #options: SqliteStorageOptions;
  readonly #lifecycle: StartStop;
  #open: Open | undefined;

  constructor(options: SqliteStorageOptions) {
    this.#options = options;
    this.#lifecycle = new StartStop(
      () => this.#start(),
      (deadlineMs) => this.#stop(deadlineMs),
    );
    this.db = kyselyOver(async (sql, parameters) => {
      const { log } = this.#opened();
      await log.whenDurable();
      return this.#opened().reader.execute(sql, parameters);
    });
    this.contents = new SqliteContents(this.db, options.path, (work) => this.#change(work));
  }

  start(): Promise<void> {
    return this.#lifecycle.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#lifecycle.stop(deadlineMs);
  }

  async run<Params, Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]> {
    const syncing = this.#opened().log.whenDurable();
    if (syncing !== undefined) await syncing;
    return this.#opened().reader.run(statement, params, this.db);
  }

  async transaction<T>(work: (tx: StorageTransaction<any>) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const { commits, writer } = this.#opened();
    if (this.#lifecycle.state === 'stopping') throw stopped(`Storage ${this.#options.name} is stopping.`);
    return commits.run((turn) => work(new SqliteTransaction(writer, turn, this.db)), timeoutOf(options));
  }

  scan<Row>(query: Compilable<Row>, options: { readonly batchRows?: number; readonly signal?: AbortSignal } = {}): AsyncIterable<Row[]> {
    const { path, settings } = this.#options;
    const { log, scans } = this.#opened();
    const { sql, parameters } = query.compile();
    return scan<Row>({
      path,
      sql,
      values: parameters.map((value, i) => bindable(value, `parameter ${i + 1}`)),
      batchRows: batchRowsOf(options),
      cacheKb: settings.cacheKb,
      signal: options.signal === undefined ? scans.signal : AbortSignal.any([options.signal, scans.signal]),
      whenDurable: () => log.whenDurable(),
    });
  }

  /** As fresh as any read. */
  lists(): this {
    return this;
  }

  async snapshot(): Promise<Snapshot> {
    const { log, scans } = this.#opened();
    return openSnapshot({ path: this.#options.path, cacheKb: this.#options.settings.cacheKb, signal: scans.signal, whenDurable: () => log.whenDurable() });
  }

  async migrate(migrations: readonly Migration[]): Promise<void> {
    const { reader } = this.#opened();
    try {
      await migrate(migrations, migrationStatements, (work) => this.#change(work), this.#options.clock);
    } finally {
      reader.forget();
    }
  }

  /** A transaction with room for a long change. */
  async #change(work: (db: Kysely<any>) => Promise<void>): Promise<void> {
    const { commits, writer } = this.#opened();
    await commits.run((turn) => work(new SqliteTransaction(writer, turn, this.db).db), MIGRATION_TIMEOUT_MS);
  }

  #opened(): Open {
    if (this.#open === undefined) throw stopped(`Storage ${this.#options.name} is not started.`);
    return this.#open;
  }

  #start(): void {
    const { path, settings } = this.#options;
    const ownership = own(path);
    try {
      const slow: SlowStatements = new SlowStatements({ ...this.#options, slowStatementMs: settings.slowStatementMs, explain: async (text) => this.#opened().reader.explain(text) });
      const writer = new Connection({ path, role: 'writer', cacheKb: settings.cacheKb, slow });
      const reader = new Connection({ path, role: 'reader', cacheKb: settings.cacheKb, slow });
      const log = new DurableLog(path, settings.durability, (fault) => this.#endScans(fault));
      const checkpoints = new Checkpoints(writer, path, settings.checkpointKb, this.#options.log);
      const commits = new GroupCommit(writer, log, this.#events(checkpoints), settings);
      sideThread.retain();
      this.#open = { slow, ownership, writer, reader, log, commits, checkpoints, scans: new AbortController() };
    } catch (error) {
      ownership.release();
      throw error;
    }
  }

  /** A new one for those that come: after a failing disk reads go on. */
  #endScans(fault: Fault): void {
    const open = this.#open;
    if (open === undefined) return;
    const { scans } = open;
    open.scans = new AbortController();
    scans.abort(fault);
  }

  #events(checkpoints: Checkpoints): GroupEvents {
    const telemetry = groupTelemetry(this.#options);
    return {
      committed(transactions, seconds) {
        telemetry.committed(transactions, seconds);
        return checkpoints.afterCommit();
      },
      failed: telemetry.failed,
    };
  }

  async #stop(deadlineMs: number): Promise<void> {
    const open = this.#open;
    if (open === undefined) return;
    const end = performance.now() + deadlineMs;
    await open.commits.stop(deadlineMs);
    await open.slow.told();
    this.#endScans(new Fault('unavailable', 'The storage is stopping.', { reason: 'stopped' }));
    this.#open = undefined;
    await open.checkpoints.finish(end - performance.now());
    await atMost(end - performance.now(), sideThread.close(this.#options.path).catch(() => {}));
    open.log.close();
    open.reader.close();
    open.writer.close();
    open.ownership.release();
    await sideThread.leave();
  }
}

/** The handle of a transaction under way. */
class SqliteTransaction implements StorageTransaction<any> {
  readonly position = null;
  readonly #writer: Connection;
  readonly #turn: Turn;
  readonly #compiler: Kysely<any>;
  #db: Kysely<any> | undefined;

  constructor(writer: Connection, turn: Turn, compiler: Kysely<any>) {
    this.#writer = writer;
    this.#turn = turn;
    this.#compiler = compiler;
  }

  /** Made when first asked for: transactions of prepared statements alone do not pay for it. */
  get db(): Kysely<any> {
    return (this.#db ??= kyselyOver(async (sql, parameters) => {
      this.#turn.check();
      const result = this.#writer.execute<any>(sql, parameters);
      await this.#turn.slice.pause();
      return result;
    }));
  }

  async run<Params, Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]> {
    this.#turn.check();
    const rows = this.#writer.run(statement, params, this.#compiler);
    const pause = this.#turn.slice.pause();
    if (pause !== undefined) await pause;
    return rows;
  }

  async runMany<Params, Row>(statement: Statement<Params, Row>, all: readonly Params[]): Promise<Row[]> {
    const rows: Row[] = [];
    for (const params of [...all]) rows.push(...(await this.run(statement, params)));
    return rows;
  }
}
