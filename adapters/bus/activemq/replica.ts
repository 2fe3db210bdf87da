import { setTimeout as pause } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import { type Migration, type Statement, type Storage, type StorageTransaction, type TransactionOptions, statement } from '../../../src/ports/storage.ts';
import type { Engine } from './engine.ts';
import type { Charge, Office } from './office.ts';
import { type LoggedRecord, type Place, SegmentLog, START } from './segment-log.ts';

/** The writes of one transaction: statements by name with their parameters. */
type Writes = readonly (readonly [name: string, parameters: unknown])[];

/** Rows of one table as a new log begins with them. */
interface Rows {
  readonly table: string;
  readonly rows: readonly Record<string, unknown>[];
}

interface PositionRow {
  id: 1;
  keeper: string;
  log: string;
  /** The last that is written here. */
  record: number;
  /** The last that was known to be in the log then, and the segment in which the one behind it begins. */
  sure: number;
  segment: number;
}
interface Tables {
  log_position: PositionRow;
}

const position: Migration = {
  name: 'log-0001-position',
  async up(db: Kysely<Tables>) {
    await db.schema
      .createTable('log_position')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('keeper', 'text', (column) => column.notNull())
      .addColumn('log', 'text', (column) => column.notNull())
      .addColumn('record', 'integer', (column) => column.notNull())
      .addColumn('sure', 'integer', (column) => column.notNull())
      .addColumn('segment', 'integer', (column) => column.notNull())
      .execute();
    await db.insertInto('log_position').values({ id: 1, keeper: newId(), log: '', record: 0, sure: 0, segment: 0 }).execute();
  },
};
const positionOf = statement<Tables, object>()((db) => db.selectFrom('log_position').selectAll());
const moveTo = statement<Tables, { record: number; sure: number; segment: number }>()((db, p) =>
  db.updateTable('log_position').set({ record: p('record'), sure: p('sure'), segment: p('segment') }));
const goTo = statement<Tables, { log: string; record: number }>()((db, p) => db.updateTable('log_position').set({ log: p('log'), record: p('record'), sure: p('record'), segment: 0 }));

/** A new log takes the old one's place when that is so many times as long as the messages were, and so long at least. */
const LONG_TIMES = 2;
const LONG_BYTES = 64 * 1024 * 1024;
const ROWS_AT_ONCE = 200;
const LONGEST_MS = 60_000;

/** Records on their way, and what they hold together. */
const MOST_UNCONFIRMED = 64;
const MOST_UNCONFIRMED_CHARACTERS = 16 * 1024 * 1024;

/** What one piece of the log holds, its first record apart. */
const CHARACTERS_AT_ONCE = 1024 * 1024;

interface Unconfirmed {
  readonly number: number;
  readonly text: string;
  resolve(): void;
  /** The connection has ended first. */
  reject(fault: unknown): void;
}

export interface ReplicaOptions {
  readonly storage: Storage;
  readonly engine: Pick<Engine, 'statements' | 'progress' | 'tables'>;
  readonly prefix: string;
  readonly log: Log;
  /** Held. */
  readonly office: Office;
}

/**
 * A database whose every transaction also stands in a log on the broker before it counts, so that another process can
 * make the same database from there. The database commits first; a transaction whose record has not been confirmed
 * is told as `unavailable` (lost), and its record goes to the log before anything else is written.
 */
export class Replica implements Storage {
  readonly #options: ReplicaOptions;
  readonly #names: ReadonlyMap<Statement<any, any>, string>;
  #logs: { readonly tail: SegmentLog; place: Place }[] = [];
  #record = 0;
  /** Committed here, and not known to be in the log; in their order. */
  #unconfirmed: Unconfirmed[] = [];
  #bringing = false;
  /** The last record that is known to be in the log, and where the one behind it begins. */
  #sure = { record: 0, segment: 0 };
  /** Bytes of the log, and of what it began with. */
  #bytes = { all: 0, base: 0 };
  #renewing: Promise<void> | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;
  #office: Office;
  /** What the token says of this copy. */
  #charge: Charge | undefined;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.#office = options.office;
    this.#names = new Map(Object.entries(options.engine.statements).map(([name, one]) => [one, name]));
  }

  get capabilities(): Storage['capabilities'] {
    return this.#options.storage.capabilities;
  }

  get db(): Kysely<any> {
    return this.#options.storage.db;
  }

  run<Params, Row>(one: Statement<Params, Row>, params: Params): Promise<Row[]> {
    return this.#options.storage.run(one, params);
  }

  scan: Storage['scan'] = (query, options) => this.#options.storage.scan(query, options);

  start(): Promise<void> {
    return this.#options.storage.start();
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#closed = true;
    // What is on its way would be told again by the next keeper as cut short.
    const settled = Promise.all([this.#renewing, this.#whenBrought()]);
    await Promise.race([settled, pause(deadlineMs / 2, undefined, { ref: false })]);
    await this.#options.storage.stop(deadlineMs / 2);
  }

  /** Also brings the database to where the log is. */
  async migrate(migrations: readonly Migration[]): Promise<void> {
    await this.#options.storage.migrate([...migrations, position]);
    await this.#catchUp();
  }

  /** Goes on with the office that is held again, when nobody else has held it meanwhile; answers whether it does. */
  resume(office: Office): Promise<boolean> {
    return this.#inTurn(async () => {
      const { charge, connection } = office;
      if (charge === undefined || charge.keeper !== this.#charge?.keeper || charge.log !== this.#charge.log) return false;
      const { tail } = this.#logs[0]!;
      let last = this.#sure.record;
      const place = await tail.read(connection, this.#sure.segment, async (records) => void (last = records.at(-1)?.number ?? last));
      this.#office = office;
      this.#logs = [{ tail, place }];
      this.#sure = { record: last, segment: place.segment };
      this.#unconfirmed = this.#unconfirmed.filter(({ number }) => number > last);
      void this.#bring();
      return true;
    });
  }

  transaction<T>(work: (tx: StorageTransaction<any>) => Promise<T>, options?: TransactionOptions): Promise<T> {
    return this.#inTurn(() => this.#transact(work, options));
  }

  /** Makes the database what the log says, or the log what the database says where that is ahead or there is none. */
  async #catchUp(): Promise<void> {
    const { storage, prefix } = this.#options;
    const { charge, connection } = this.#held;
    const [here] = await storage.run(positionOf, {});
    this.#record = here!.record;
    this.#charge = charge;
    if (charge === undefined) return this.#renew();
    if (charge.keeper !== here!.keeper || charge.log !== here!.log) {
      await this.#copy(charge.log);
      await this.#change({ ...charge, keeper: here!.keeper });
      return this.#clean();
    }
    const tail = tailOf(prefix, charge.log);
    let last = here!.sure;
    const place = await tail.read(connection, here!.segment, async (records) => {
      last = records.at(-1)?.number ?? last;
      await this.#apply(records);
    });
    this.#logs = [{ tail, place }];
    this.#sure = { record: last, segment: place.segment };
    // It was killed between its database and the log.
    if (last < this.#record) return this.#renew();
    return this.#clean();
  }

  async #transact<T>(work: (tx: StorageTransaction<any>) => Promise<T>, options?: TransactionOptions): Promise<T> {
    void this.#held;
    const writes: (readonly [string, unknown])[] = [];
    const number = this.#record + 1;
    const { record: sure, segment } = this.#sure;
    const result = await this.#options.storage.transaction(async (tx) => {
      writes.length = 0;
      const answer = await work(this.#recording(tx, writes));
      if (writes.length > 0) await tx.run(moveTo, { record: number, sure, segment });
      return answer;
    }, options);
    if (writes.length === 0) return result;
    this.#record = number;
    const { promise: confirmed, resolve, reject } = Promise.withResolvers<void>();
    confirmed.catch(() => {});
    this.#unconfirmed.push({ number, text: JSON.stringify(writes satisfies Writes), resolve, reject });
    void this.#bring();
    const { progress } = this.#options.engine;
    if (this.#isCrowded || !writes.every(([name]) => progress.has(name))) await confirmed;
    return result;
  }

  get #isCrowded(): boolean {
    return this.#unconfirmed.length > MOST_UNCONFIRMED || this.#unconfirmed.reduce((sum, { text }) => sum + text.length, 0) > MOST_UNCONFIRMED_CHARACTERS;
  }

  #recording(tx: StorageTransaction<any>, writes: (readonly [string, unknown])[]): StorageTransaction<any> {
    return {
      db: tx.db,
      run: (one, params) => {
        if (this.#isWrite(one)) writes.push([this.#nameOf(one), params]);
        return tx.run(one, params);
      },
    };
  }

  #nameOf(one: Statement<any, any>): string {
    const name = this.#names.get(one);
    // Another process could never make it, and the copies would differ.
    if (name === undefined) throw new Fault('internal', 'The engine writes with a statement that has no name in the log.', { reason: 'storage', origin: 'unsent' });
    return name;
  }

  readonly #writing = new WeakMap<Statement<any, any>, boolean>();

  #isWrite(one: Statement<any, any>): boolean {
    let writes = this.#writing.get(one);
    if (writes === undefined) {
      writes = !/^\s*select/i.test(one.build(this.db).compile().sql);
      this.#writing.set(one, writes);
    }
    return writes;
  }

  /**
   * Brings everything to the log that is not there, until it is: what comes up while the broker writes goes along with
   * the next piece. What is not confirmed when the connection ends is looked for when there is another.
   */
  async #bring(): Promise<void> {
    if (this.#bringing) return;
    this.#bringing = true;
    try {
      while (this.#unconfirmed.length > 0) await this.#bringNext();
    } catch {
      // Those who wait for it have been told.
    } finally {
      this.#bringing = false;
    }
  }

  async #bringNext(): Promise<void> {
    let characters = 0;
    const end = this.#unconfirmed.findIndex(({ text }, at) => (characters += text.length) > CHARACTERS_AT_ONCE && at > 0);
    const batch = this.#unconfirmed.slice(0, end === -1 ? undefined : end);
    const record = { number: batch.at(-1)!.number, text: `[${batch.map(({ number, text }) => `[${number},${text}]`).join()}]` };
    const logs = [...this.#logs];
    const made = logs.map(({ tail, place }) => tail.frames(record, place));
    logs.forEach((log, at) => (log.place = made[at]!.next));
    try {
      await this.#held.connection.deliver(made.flatMap(({ frames }) => frames));
    } catch (fault) {
      // Also those that were not on their way: they are committed here, and will be brought.
      for (const { reject } of this.#unconfirmed) reject(fault);
      throw fault;
    }
    this.#unconfirmed.splice(0, batch.length);
    if (logs[0] === this.#logs[0]) this.#sure = { record: record.number, segment: made[0]!.next.segment };
    for (const { resolve } of batch) resolve();
    this.#grow(record.text.length);
  }

  async #whenBrought(): Promise<void> {
    while (this.#bringing) await pause(5, undefined, { ref: false });
  }

  #grow(bytes: number): void {
    this.#bytes.all += bytes;
    if (this.#bytes.all < Math.max(LONG_BYTES, this.#bytes.base * LONG_TIMES)) return;
    this.#bytes.all = 0;
    this.#renewing ??= this.#renew()
      .catch((err: unknown) => this.#options.log.warn({ err }, 'the log of messages could not be shortened; it will be tried again'))
      .finally(() => (this.#renewing = undefined));
  }

  /** Empties the database and fills it from a log. */
  async #copy(name: string): Promise<void> {
    const { storage, engine, prefix } = this.#options;
    const { connection } = this.#held;
    const began = performance.now();
    await storage.transaction(async (tx) => {
      for (const { name: table } of engine.tables) await tx.db.deleteFrom(table).execute();
      await tx.run(goTo, { log: '', record: 0 });
    }, { timeoutMs: LONGEST_MS });
    const base = await baseOf(prefix, name).read(connection, 0, (records) =>
      storage.transaction(async (tx) => {
        for (const { text } of records) {
          const { table, rows } = JSON.parse(text) as Rows;
          await tx.db.insertInto(table).values(rows).execute();
        }
      }, { timeoutMs: LONGEST_MS }),
    );
    const tail = tailOf(prefix, name);
    this.#record = 0;
    const place = await tail.read(connection, 0, (records) => this.#apply(records));
    await storage.transaction((tx) => tx.run(goTo, { log: name, record: this.#record }));
    this.#logs = [{ tail, place }];
    this.#sure = { record: this.#record, segment: place.segment };
    this.#options.log.info({ segments: base.segment + place.segment + 2, ms: Math.round(performance.now() - began) }, 'took over the messages of the bus from the log on the broker');
  }

  /** Writes what is new of these here, too. */
  async #apply(records: readonly LoggedRecord[]): Promise<void> {
    if (records.every(({ number }) => number <= this.#record)) return;
    await this.#options.storage.transaction(async (tx) => {
      for (const { text } of records) {
        for (const [number, writes] of JSON.parse(text) as (readonly [number, Writes])[]) {
          if (number <= this.#record) continue;
          for (const [name, parameters] of writes) await tx.run(this.#statement(name), parameters);
          this.#record = number;
        }
      }
    }, { timeoutMs: LONGEST_MS });
  }

  #statement(name: string): Statement<any, any> {
    const one = this.#options.engine.statements[name];
    if (one === undefined) throw new Fault('unavailable', `The log on the broker holds ${name}, which this version does not know; a newer one has written it.`, { reason: 'storage', origin: 'unsent' });
    return one;
  }

  /** Begins a new log with the rows as they are now; what is written meanwhile goes to both, until the new one is whole. */
  async #renew(): Promise<void> {
    const { storage, engine, prefix } = this.#options;
    const { charge: before, connection } = this.#held;
    const name = newId();
    const [{ keeper }] = (await storage.run(positionOf, {})) as [PositionRow];
    if (before !== undefined) await this.#change({ ...before, waste: { log: name, base: null, tail: null } });
    const base = baseOf(prefix, name);
    const made = { tail: tailOf(prefix, name), place: START };
    const old = this.#logs[0];
    let at = START;
    let bytes = 0;
    let from = 0;
    const scans = await this.#inTurn(async () => {
      from = this.#record;
      const begun = engine.tables.map(({ name: table, keyedBy }) => ({ table, rows: storage.scan<Record<string, unknown>>(storage.db.selectFrom(table).selectAll().orderBy(keyedBy), { batchRows: ROWS_AT_ONCE })[Symbol.asyncIterator]() }));
      // The first rows show that its snapshot stands.
      const first = await Promise.all(begun.map(async ({ table, rows }) => ({ table, rows, next: await rows.next() })));
      this.#logs = old === undefined ? [made] : [old, made];
      return first;
    });
    try {
      for (const scan of scans) {
        for (let { next } = scan; next.done !== true; next = await scan.rows.next()) {
          if (this.#closed) return;
          const record = { number: 0, text: JSON.stringify({ table: scan.table, rows: next.value } satisfies Rows) };
          const { frames, next: behind } = base.frames(record, at);
          await connection.deliver(frames);
          at = behind;
          bytes += record.text.length;
        }
      }
      await this.#inTurn(async () => {
        await this.#change({ keeper, log: name, base: at.segment, waste: before === undefined ? null : { log: before.log, base: before.base, tail: old?.place.segment ?? null } });
        this.#logs = [made];
        this.#sure = { record: from, segment: 0 };
        this.#bytes = { all: 0, base: bytes };
        await storage.transaction((tx) => tx.run(goTo, { log: name, record: this.#record }));
      });
    } finally {
      if (this.#logs.length > 1) this.#logs = [old!];
      for (const { rows } of scans) await rows.return?.(undefined);
    }
    await this.#clean();
  }

  /** Removes what is worth nothing. */
  async #clean(): Promise<void> {
    const { charge, connection } = this.#held;
    if (charge === undefined || charge.waste === null) return;
    const { log, base, tail } = charge.waste;
    await tailOf(this.#options.prefix, log).remove(connection, tail);
    await baseOf(this.#options.prefix, log).remove(connection, base);
    await this.#change({ ...charge, waste: null });
  }

  async #change(charge: Charge): Promise<void> {
    await this.#held.change(charge);
    this.#charge = charge;
  }

  get #held(): Office {
    if (this.#office.held) return this.#office;
    throw new Fault('unavailable', 'The broker is away.', { reason: 'broker_away', origin: 'unsent' });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}

function baseOf(prefix: string, log: string): SegmentLog {
  return new SegmentLog(`${prefix}.log.${log}.base`);
}

function tailOf(prefix: string, log: string): SegmentLog {
  return new SegmentLog(`${prefix}.log.${log}.tail`);
}
