import { createHash, randomBytes } from 'node:crypto';
import type { Compilable, Kysely } from 'kysely';
import type { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import type { Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { LongReader, Migration, Snapshot, Statement, Storage, StorageCapabilities, StorageCheck, StorageTransaction, TransactionOptions } from '../../../src/ports/storage.ts';
import { stopped } from '../shared/faults.ts';
import { groupTelemetry } from '../shared/group-telemetry.ts';
import { batchRowsOf, MIGRATION_TIMEOUT_MS, timeoutOf } from '../shared/limits.ts';
import { migrate } from '../shared/migrations.ts';
import { SlowStatements } from '../shared/slow-statements.ts';
import { checkServers } from './check.ts';
import { PostgresContents } from './contents.ts';
import { kyselyOver } from './dialect.ts';
import type { PostgresSettings, ReplicaSettings } from './driver.ts';
import { postgresFault } from './errors.ts';
import { GroupCommit } from './group-commit.ts';
import { Growth } from './growth.ts';
import { Lists } from './lists.ts';
import { migrationStatements } from './migrations.ts';
import { type Primary, PRIMARY, primaryOf } from './primary-log.ts';
import { Readers } from './readers.ts';
import { Replica } from './replica.ts';
import { scan } from './scan.ts';
import { clientConfig, type Role, Session } from './session.ts';
import { openSnapshot } from './snapshot.ts';
import { queryOf, resultOf, Statements } from './statements.ts';
import type { Turn } from './turn.ts';

/** Of the time that a list may take at the replica: the server ends it before the replica is taken for lost. */
const OWN_SHARE = 0.8;
/** A network that has gone silent does not keep the group that waits for it. */
const CANCEL_MS = 1_000;

export interface PostgresStorageOptions {
  readonly settings: PostgresSettings;
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What is open while the storage runs. */
interface Open {
  readonly slow: SlowStatements;
  readonly commits: GroupCommit;
  readonly growth: Growth;
  readonly readers: Readers;
  readonly scanners: Readers;
  /** Ends the scans under way. */
  readonly scans: AbortController;
  /** Undefined without one. */
  readonly replica: Replica | undefined;
}

/** One schema of a PostgreSQL database: one connection that writes in groups, some that read, some for long reads. */
export class PostgresStorage implements Storage {
  readonly capabilities: StorageCapabilities = { shared: true, skipLocked: false };
  readonly db: Kysely<any>;
  readonly contents: PostgresContents;
  readonly #options: PostgresStorageOptions;
  readonly #schema: string;
  /** By which the server tells its connections from those of other processes. */
  readonly #label = randomBytes(4).toString('hex');
  readonly #statements: Statements;
  readonly #lifecycle: StartStop;
  #open: Open | undefined;

  constructor(options: PostgresStorageOptions) {
    this.#options = options;
    this.#schema = options.settings.schema ?? options.name;
    this.#lifecycle = new StartStop(
      () => this.#start(),
      (deadlineMs) => this.#stop(deadlineMs),
    );
    this.db = kyselyOver(async (sql, parameters) => {
      const { readers } = this.#opened();
      return resultOf(await readers.query(queryOf(sql, parameters)));
    });
    this.#statements = new Statements(this.db);
    this.contents = new PostgresContents(this.db, options.settings, this.#schema, (work) => this.#change(work));
  }

  start(): Promise<void> {
    return this.#lifecycle.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#lifecycle.stop(deadlineMs);
  }

  async run<Params, Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]> {
    const { readers } = this.#opened();
    return (await readers.query(this.#statements.query(statement, params))).rows as Row[];
  }

  async transaction<T>(work: (tx: StorageTransaction<any>) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const { commits } = this.#opened();
    if (this.#lifecycle.state === 'stopping') throw stopped(`Storage ${this.#options.name} is stopping.`);
    return commits.run((turn) => work(new PostgresTransaction(turn, this.#statements)), timeoutOf(options));
  }

  scan<Row>(query: Compilable<Row>, options: { readonly batchRows?: number; readonly signal?: AbortSignal } = {}): AsyncIterable<Row[]> {
    const { scanners, scans } = this.#opened();
    const { sql, parameters } = query.compile();
    return scan<Row>({
      readers: scanners,
      query: queryOf(sql, parameters),
      batchRows: batchRowsOf(options),
      signal: options.signal === undefined ? scans.signal : AbortSignal.any([options.signal, scans.signal]),
    });
  }

  check(): Promise<StorageCheck[]> {
    const { replica } = this.#options.settings;
    return checkServers(this.#config('reader'), replica && this.#replicaConfig(replica, 'reader'));
  }

  get problems(): readonly string[] {
    const problem = this.#open?.replica?.problem;
    return problem === undefined ? [] : [problem];
  }

  lists(position?: string | null): LongReader<any> {
    const { replica, readers, scans } = this.#opened();
    if (replica === undefined) return this;
    return new Lists({ replica, primary: { readers, scan: (query, options) => this.scan(query, options) }, statements: this.#statements, signal: scans.signal }, position);
  }

  async snapshot(): Promise<Snapshot> {
    const { scanners, scans } = this.#opened();
    return openSnapshot({ readers: scanners, schema: this.#schema, signal: scans.signal });
  }

  async migrate(migrations: readonly Migration[]): Promise<void> {
    try {
      await migrate(migrations, migrationStatements, (work) => this.#change(work), this.#options.clock);
    } finally {
      this.#statements.forget();
    }
  }

  /** A transaction with room for a long change. */
  async #change(work: (db: Kysely<any>) => Promise<void>): Promise<void> {
    await this.#opened().commits.run((turn) => work(new PostgresTransaction(turn, this.#statements).db), MIGRATION_TIMEOUT_MS);
  }

  #opened(): Open {
    if (this.#open === undefined) throw stopped(`Storage ${this.#options.name} is not started.`);
    return this.#open;
  }

  async #start(): Promise<void> {
    const { readers: connections, scans, maxWaiting, answerTimeoutMs, slowStatementMs, replica: follower } = this.#options.settings;
    const lock = lockOf(this.#schema);
    try {
      const session = await Session.open(this.#config('writer'));
      let known: Primary | undefined;
      try {
        await prepare(session, this.#schema, lock, answerTimeoutMs);
        if (follower !== undefined) known = primaryOf((await session.within(answerTimeoutMs, session.control(PRIMARY)))[0]!);
      } finally {
        await session.close(1_000);
      }
      const slow: SlowStatements = new SlowStatements({ ...this.#options, slowStatementMs, explain: (text) => readers.explain(text) });
      const readers = new Readers({ config: this.#config('reader'), connections, maxWaiting, slow });
      const growth = new Growth({ db: this.db, connect: () => Session.open(this.#config('scan')) });
      const telemetry = groupTelemetry(this.#options);
      const commits = new GroupCommit(
        { connect: () => Session.open(this.#config('writer'), slow), cancel: (processId) => this.#cancel(processId), schemaChanged: () => this.#statements.forget(), system: known?.system, lock, maxWaiting, answerTimeoutMs },
        { ...telemetry, committed: (transactions, seconds) => (telemetry.committed(transactions, seconds), growth.committed()) },
      );
      await commits.open();
      const replica = follower === undefined ? undefined : this.#replica(follower, known!, slow);
      await replica?.start();
      this.#open = {
        replica,
        slow,
        commits,
        growth,
        readers,
        scanners: new Readers({ config: this.#config('scan'), connections: scans, maxWaiting }),
        scans: new AbortController(),
      };
    } catch (error) {
      throw postgresFault(error, 'unsent');
    }
  }

  /** The settings with which a server that follows the primary is spoken to. */
  #replicaConfig({ host, port, user, password, timeoutMs }: ReplicaSettings, role: Role): ReturnType<typeof clientConfig> {
    const { settings: primary } = this.#options;
    const there = { ...primary, host, port, user: user ?? primary.user, password: password ?? primary.password, connectTimeoutMs: timeoutMs, answerTimeoutMs: Math.ceil(timeoutMs * OWN_SHARE) };
    return clientConfig(there, this.#schema, this.#label, role);
  }

  #replica(settings: ReplicaSettings, primary: Primary, slow: SlowStatements): Replica {
    const { settings: { scans }, name, clock, log, metrics } = this.#options;
    const connections = { lists: this.#replicaConfig(settings, 'reader'), scans: this.#replicaConfig(settings, 'scan'), readers: settings.readers, mostScans: scans };
    return new Replica({ settings, name, connections, primary, connectPrimary: () => Session.open(this.#config('reader')), slow, clock, log, metrics });
  }

  #config(role: Role): ReturnType<typeof clientConfig> {
    return clientConfig(this.#options.settings, this.#schema, this.#label, role);
  }

  /** Over a connection of its own: those of the readers may all be busy. */
  async #cancel(processId: number): Promise<void> {
    const session = await Session.open(this.#config('reader'));
    try {
      await session.within(CANCEL_MS, session.control(`SELECT pg_cancel_backend(${processId})`));
    } finally {
      await session.close(CANCEL_MS);
    }
  }

  async #stop(deadlineMs: number): Promise<void> {
    const open = this.#open;
    if (open === undefined) return;
    const end = performance.now() + deadlineMs;
    await open.commits.stop(deadlineMs);
    open.scans.abort(new Fault('unavailable', 'The storage is stopping.', { reason: 'stopped' }));
    this.#open = undefined;
    const leftMs = Math.max(0, end - performance.now());
    await Promise.all([open.replica?.stop(leftMs), open.growth.stop(leftMs), open.readers.close(leftMs), open.scanners.close(leftMs)]);
    await open.slow.told();
  }
}

/** Makes the schema, one process at a time; refuses a server that would keep text in another way. */
async function prepare(session: Session, schema: string, lock: bigint, answerTimeoutMs: number): Promise<void> {
  const rows = await session.within(answerTimeoutMs, session.control(`SELECT current_setting('server_encoding') AS encoding, to_regnamespace('"${schema}"') IS NOT NULL AS there`));
  const [{ encoding, there }] = rows as [{ encoding: string; there: 0 | 1 }];
  if (encoding !== 'UTF8') {
    throw new Fault('unavailable', `The database keeps text in ${encoding}.`, { reason: 'storage', details: { remedy: 'Make the database with encoding UTF8.' }, origin: 'unsent' });
  }
  if (there === 1) return;
  await session.within(answerTimeoutMs, session.control(`BEGIN; SELECT pg_advisory_xact_lock(${lock}); CREATE SCHEMA IF NOT EXISTS "${schema}"; COMMIT`));
}

/** The server knows locks by number. */
function lockOf(schema: string): bigint {
  return createHash('sha256').update(`multilith ${schema}`).digest().readBigInt64BE();
}

/** The handle of a transaction under way. */
class PostgresTransaction implements StorageTransaction<any> {
  readonly #turn: Turn;
  readonly #statements: Statements;
  #db: Kysely<any> | undefined;

  constructor(turn: Turn, statements: Statements) {
    this.#turn = turn;
    this.#statements = statements;
  }

  get position(): string | null {
    return this.#turn.position;
  }

  /** Made when first asked for: transactions of prepared statements alone do not pay for it. */
  get db(): Kysely<any> {
    return (this.#db ??= kyselyOver(async (sql, parameters) => resultOf(await this.#turn.execute(queryOf(sql, parameters)))));
  }

  async run<Params, Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]> {
    const query = this.#statements.query(statement, params);
    if (!this.#statements.isSilent(statement)) return (await this.#turn.execute(query)).rows as Row[];
    await this.#turn.write(query);
    return [];
  }

  async runMany<Params, Row>(statement: Statement<Params, Row>, all: readonly Params[]): Promise<Row[]> {
    const queries = this.#statements.queries(statement, all);
    if (!this.#statements.isSilent(statement)) return (await Promise.all(queries.map((query) => this.#turn.execute(query)))).flatMap(({ rows }) => rows as Row[]);
    for (const query of queries) await this.#turn.write(query);
    return [];
  }
}
