import { setTimeout as pause } from 'node:timers/promises';
import type { Clock, EpochMs } from '../kernel/clock.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { AgingTable } from '../kernel/module.ts';
import { Rounds } from '../kernel/rounds.ts';
import type { Counter, Log, Metrics } from '../kernel/telemetry.ts';
import type { Bus } from '../ports/bus.ts';
import { type Statement, type Storage, statement } from '../ports/storage.ts';
import { queueName } from './envelope.ts';

const EVERY_MS = 600_000;
/** What one transaction looks at: some milliseconds, after which whoever waits to write has their turn. */
const ROWS_AT_ONCE = 200;
const BETWEEN_PIECES_MS = 5;
/** Of one table, in one round: some 11 million rows a day. */
const PIECES_A_ROUND = 400;
const DAY_MS = 86_400_000;
/** A message that waits for another try counts as old as that try is: so much longer stays what it may have left behind. */
const TRIES_MS = DAY_MS;

/** How long tables are kept, days, by the names that modules give them; null or left out: for good. */
export type KeptDays = Readonly<Record<string, number | null>>;

export interface RetentionOptions {
  readonly module: string;
  readonly tables: readonly AgingTable[];
  readonly keptDays: KeptDays;
  readonly storage: Storage;
  readonly bus: Pick<Bus, 'inspect'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Deletes a module's rows that are older than the configuration keeps them, a few at a time all day long. Goes round each table by its
 * key, a part of the way every ten minutes; cut off anywhere it begins again at the start, and what is gone stays gone.
 * Processes that share a database may do so side by side.
 */
export class Retention implements Lifecycle {
  readonly #module: string;
  readonly #bus: Pick<Bus, 'inspect'>;
  readonly #clock: Clock;
  readonly #walks: readonly Walk[];
  readonly #rounds: Rounds;

  constructor({ module, tables, keptDays, storage, bus, clock, log, metrics }: RetentionOptions) {
    this.#module = module;
    this.#bus = bus;
    this.#clock = clock;
    const removed: Counter = metrics.counter('retention_removed_total', 'Rows deleted since they were older than the configuration keeps them.', ['module', 'table']);
    this.#walks = tables.flatMap((table) => {
      const days = keptDays[table.name] ?? null;
      return days === null ? [] : [new Walk(storage, table, days * DAY_MS, (rows) => removed.add(rows, { module, table: table.name }))];
    });
    this.#rounds = new Rounds({
      clock,
      everyMs: EVERY_MS,
      round: (goesOn) => this.#goRound(goesOn),
      failed: (err) => log.warn({ module, err }, 'old rows not deleted; tried again later'),
    });
  }

  async start(): Promise<void> {
    if (this.#walks.length > 0) await this.#rounds.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#rounds.stop(deadlineMs);
  }

  async #goRound(goesOn: () => boolean): Promise<void> {
    for (const walk of this.#walks) {
      const before = Math.min(this.#clock.now() - walk.keepMs, await this.#oldestTold(walk.table));
      for (let piece = 0; piece < PIECES_A_ROUND && goesOn(); piece++) {
        if (await walk.piece(before)) break;
        await pause(BETWEEN_PIECES_MS);
      }
    }
  }

  /**
   * Since when rows may be asked for by messages: a queue that was paused, or held, for longer than rows are kept may
   * hand out what was handled before. Nothing goes of a queue that the bus does not know yet.
   */
  async #oldestTold({ remembers }: AgingTable): Promise<EpochMs> {
    if (remembers === undefined) return Number.POSITIVE_INFINITY;
    const [queue] = await this.#bus.inspect({ queue: queueName(remembers, this.#module) });
    return queue === undefined ? 0 : this.#clock.now() - (queue.oldestMs ?? 0) - TRIES_MS;
  }
}

type Place = Readonly<Record<string, string | number>>;

/** The way round one table. */
class Walk {
  readonly table: AgingTable;
  readonly keepMs: number;
  readonly #storage: Storage;
  readonly #onRemoved: (rows: number) => void;
  readonly #ends: Record<'first' | 'next', Statement<any, Place>>;
  readonly #removals: Record<string, Statement<any, unknown>> = {};
  #place: Place | undefined;

  constructor(storage: Storage, table: AgingTable, keepMs: number, onRemoved: (rows: number) => void) {
    this.#storage = storage;
    this.table = table;
    this.keepMs = keepMs;
    this.#onRemoved = onRemoved;
    this.#ends = { first: endOf(table, false), next: endOf(table, true) };
  }

  /** Removes rows whose time is before that. Answers whether nothing is left to look at for now; the next piece then begins at the start. */
  async piece(before: EpochMs): Promise<boolean> {
    const from = this.#place;
    const [to] = await this.#storage.run(from === undefined ? this.#ends.first : this.#ends.next, { ...prefixed('from', from), rows: ROWS_AT_ONCE });
    const removal = (this.#removals[`${from !== undefined} ${to !== undefined}`] ??= removalOf(this.table, from !== undefined, to !== undefined));
    const params = { ...prefixed('from', from), ...prefixed('to', to), before };
    const removed = (await this.#storage.transaction((tx) => tx.run(removal, params))).length;
    if (removed > 0) this.#onRemoved(removed);
    const isOver = to === undefined || (this.table.oldestFirst === true && removed === 0);
    this.#place = isOver ? undefined : to;
    return isOver;
  }
}

function prefixed(prefix: 'from' | 'to', place: Place | undefined): Place {
  return Object.fromEntries(Object.entries(place ?? {}).map(([column, value]) => [`${prefix}_${column}`, value]));
}

/** The key of the row with which a piece ends; none when the rest is less than one. */
function endOf({ table, key }: AgingTable, hasStart: boolean): Statement<any, Place> {
  return statement<any, any>()((db, p) => {
    let query = db.selectFrom(table).select([...key]);
    if (hasStart) query = query.where((eb) => eb(eb.refTuple(...tuple(key)), '>', eb.tuple(...tuple(key.map((column) => p(`from_${column}`))))));
    for (const column of key) query = query.orderBy(column);
    return query.limit(1).offset(p('rows'));
  }) as Statement<any, Place>;
}

function removalOf({ table, key, time, only }: AgingTable, hasStart: boolean, hasEnd: boolean): Statement<any, unknown> {
  return statement<any, any>()((db, p) => {
    let query = db.deleteFrom(table).where(time, '<', p('before')).returning(key[0]!);
    if (hasStart) query = query.where((eb) => eb(eb.refTuple(...tuple(key)), '>', eb.tuple(...tuple(key.map((column) => p(`from_${column}`))))));
    if (hasEnd) query = query.where((eb) => eb(eb.refTuple(...tuple(key)), '<=', eb.tuple(...tuple(key.map((column) => p(`to_${column}`))))));
    return only === undefined ? query : query.where(only.column, 'in', [...only.values]);
  });
}

/** Kysely's types know tuples of two to five. */
function tuple<T>(of: readonly T[]): [T, T] {
  return of as unknown as [T, T];
}
