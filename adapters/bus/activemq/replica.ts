import { setTimeout as pause } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Migration, Snapshot, Statement, Storage, StorageTransaction, TransactionOptions } from '../../../src/ports/storage.ts';
import type { Engine } from './engine.ts';
import { goTo, moveTo, position, positionOf, withoutPosition } from './log-position.ts';
import { type OpenLog, LogWriter } from './log-writer.ts';
import { LoggedStatements, type Writes } from './logged-statements.ts';
import type { Charge, Office } from './office.ts';
import { type LoggedRecord, SegmentLog, START } from './segment-log.ts';

type Row = Record<string, unknown>;

/** Rows of one table as a new log begins with them. */
interface Rows {
  readonly table: string;
  readonly rows: readonly Row[];
}

/** A new log takes the old one's place when that is so many times as long as the messages were, and so long at least. */
const LONG_TIMES = 2;
const LONG_BYTES = 64 * 1024 * 1024;
/** Read at once: each may be as long as the longest message. */
const ROWS_AT_ONCE = 16;
/** What one record of a new log's beginning holds: the broker has each as a whole in its memory. */
const ROWS_A_RECORD = 200;
const CHARACTERS_A_RECORD = 1024 * 1024;
const LONGEST_MS = 60_000;

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
  readonly #statements: LoggedStatements;
  readonly #writer: LogWriter;
  /** The last that is written here. */
  #record = 0;
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
    this.#statements = new LoggedStatements(options.engine);
    this.#writer = new LogWriter({ connection: () => this.#held.connection, grew: (characters) => this.#grow(characters) });
  }

  get capabilities(): Storage['capabilities'] {
    return this.#options.storage.capabilities;
  }

  get db(): Kysely<any> {
    return this.#options.storage.db;
  }

  get contents(): Storage['contents'] {
    return this.#options.storage.contents;
  }

  run<Params, Row>(one: Statement<Params, Row>, params: Params): Promise<Row[]> {
    return this.#options.storage.run(one, params);
  }

  get problems(): Storage['problems'] {
    return this.#options.storage.problems;
  }

  scan: Storage['scan'] = (query, options) => this.#options.storage.scan(query, options);

  lists: Storage['lists'] = (position) => this.#options.storage.lists(position);

  /** Of the messages alone. What another process may have kept meanwhile is not in it, so that the office must be held behind it. */
  async snapshot(): Promise<Snapshot> {
    const snapshot = await this.#options.storage.snapshot();
    try {
      await this.#held.confirm();
      return withoutPosition(snapshot);
    } catch (error) {
      await snapshot.close();
      throw error;
    }
  }

  start(): Promise<void> {
    return this.#options.storage.start();
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#closed = true;
    // What is on its way would be told again by the next keeper as cut short.
    const settled = Promise.all([this.#renewing, this.#writer.settled()]);
    await Promise.race([settled, pause(deadlineMs / 2, undefined, { ref: false })]);
    await this.#options.storage.stop(deadlineMs / 2);
  }

  /** Also brings the database to where the log is. */
  async migrate([first, ...later]: readonly Migration[]): Promise<void> {
    // The order in which databases have run them: the position came when the engine had its first one only.
    await this.#options.storage.migrate([...(first === undefined ? [] : [first]), position, ...later]);
    await this.#catchUp();
  }

  /** Goes on with the office that is held again, when nobody else has held it meanwhile; answers whether it does. */
  resume(office: Office): Promise<boolean> {
    return this.#inTurn(async () => {
      const { charge, connection } = office;
      if (charge === undefined || charge.keeper !== this.#charge?.keeper || charge.log !== this.#charge.log) return false;
      const { tail } = this.#writer.log!;
      let { record: last, segment } = this.#writer.sure;
      const place = await tail.read(connection, segment, async (records) => void (last = records.at(-1)?.number ?? last));
      this.#office = office;
      this.#writer.goOn({ tail, place }, { record: last, segment: place.segment });
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
    this.#writer.goOn({ tail, place }, { record: last, segment: place.segment });
    // It was killed between its database and the log.
    if (last < this.#record) return this.#renew();
    return this.#clean();
  }

  async #transact<T>(work: (tx: StorageTransaction<any>) => Promise<T>, options?: TransactionOptions): Promise<T> {
    void this.#held;
    const writes: (readonly [string, unknown])[] = [];
    const number = this.#record + 1;
    const { record: sure, segment } = this.#writer.sure;
    const result = await this.#options.storage.transaction(async (tx) => {
      writes.length = 0;
      const answer = await work(this.#statements.recording(tx, writes));
      if (writes.length > 0) await tx.run(moveTo, { record: number, sure, segment });
      return answer;
    }, options);
    if (writes.length === 0) return result;
    this.#record = number;
    const confirmed = this.#writer.write(number, writes);
    if (this.#writer.isCrowded || !this.#statements.areProgress(writes)) await confirmed;
    return result;
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
    this.#writer.goOn({ tail, place }, { record: this.#record, segment: place.segment });
    this.#options.log.info({ segments: base.segment + place.segment + 2, ms: Math.round(performance.now() - began) }, 'took over the messages of the bus from the log on the broker');
  }

  /** Writes what is new of these here, too. */
  async #apply(records: readonly LoggedRecord[]): Promise<void> {
    if (records.every(({ number }) => number <= this.#record)) return;
    await this.#options.storage.transaction(async (tx) => {
      for (const { text } of records) {
        for (const [number, writes] of JSON.parse(text) as (readonly [number, Writes])[]) {
          if (number <= this.#record) continue;
          await this.#statements.replay(tx, writes);
          this.#record = number;
        }
      }
    }, { timeoutMs: LONGEST_MS });
  }

  /** Begins a new log with the rows as they are now; what is written meanwhile goes to both, until the new one is whole. */
  async #renew(): Promise<void> {
    const { storage, engine, prefix } = this.#options;
    // The token names one waste; another's would lie on the broker for good.
    await this.#clean();
    const { charge: before, connection } = this.#held;
    const name = newId();
    const [here] = await storage.run(positionOf, {});
    if (before !== undefined) await this.#change({ ...before, waste: { log: name, base: null, tail: null } });
    const base = baseOf(prefix, name);
    const made: OpenLog = { tail: tailOf(prefix, name), place: START };
    const old = this.#writer.log;
    let at = START;
    let bytes = 0;
    let from = 0;
    const scans = await this.#inTurn(async () => {
      // What the new one begins with must not come to it a second time.
      await this.#writer.flush();
      from = this.#record;
      const begun = engine.tables.map(({ name: table, keyedBy }) => ({ table, rows: storage.scan<Row>(storage.db.selectFrom(table).selectAll().orderBy(keyedBy), { batchRows: ROWS_AT_ONCE })[Symbol.asyncIterator]() }));
      // The first rows show that its snapshot stands.
      const first = await Promise.all(begun.map(async ({ table, rows }) => ({ table, rows, next: await rows.next() })));
      this.#writer.alsoTo(made);
      return first;
    });
    try {
      for (const scan of scans) {
        for await (const text of recordsOf(scan)) {
          if (this.#closed) return;
          const { frames, next } = base.frames({ number: 0, text }, at);
          await connection.deliver(frames);
          at = next;
          bytes += text.length;
        }
      }
      await this.#inTurn(async () => {
        await this.#change({ keeper: here!.keeper, log: name, base: at.segment, waste: before === undefined ? null : { log: before.log, base: before.base, tail: old?.place.segment ?? null } });
        this.#writer.goOn(made, { record: from, segment: 0 });
        this.#bytes = { all: 0, base: bytes };
        await storage.transaction((tx) => tx.run(goTo, { log: name, record: this.#record }));
      });
    } finally {
      if (old !== undefined && this.#writer.log === old) this.#writer.alsoTo(undefined);
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

interface Scan {
  readonly table: string;
  readonly rows: AsyncIterator<Row[]>;
  /** The first of them. */
  readonly next: IteratorResult<Row[]>;
}

/** The rows of a table as texts of `Rows`, each of about the same length whatever that of the rows. */
async function* recordsOf({ table, rows, next: first }: Scan): AsyncGenerator<string> {
  let texts: string[] = [];
  let characters = 0;
  const record = (): string => `{"table":${JSON.stringify(table)},"rows":[${texts.join()}]}`;
  for (let next = first; next.done !== true; next = await rows.next()) {
    for (const row of next.value) {
      const text = JSON.stringify(row);
      if (texts.length > 0 && (texts.length === ROWS_A_RECORD || characters + text.length > CHARACTERS_A_RECORD)) {
        yield record();
        [texts, characters] = [[], 0];
      }
      texts.push(text);
      characters += text.length;
    }
  }
  if (texts.length > 0) yield record();
}

function baseOf(prefix: string, log: string): SegmentLog {
  return new SegmentLog(`${prefix}.log.${log}.base`);
}

function tailOf(prefix: string, log: string): SegmentLog {
  return new SegmentLog(`${prefix}.log.${log}.tail`);
}
