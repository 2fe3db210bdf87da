import { type Expression, type ExpressionBuilder, type Kysely, type SqlBool } from 'kysely';
import { Fault } from '../kernel/fault.ts';
import { CHANGES, type ChangeRow, type Storage, type StorageTransaction, type StoredRow, type StoredValue, type TableShape } from '../ports/storage.ts';
import { rowLine } from './row-sum.ts';

/** Changes that are carried over at once; more where rows refer to others whose change comes later. */
const CHANGES_AT_ONCE = 500;
const MOST_AT_ONCE = 64_000;
/** Rows named in one statement: each names its key's columns, of which a statement has few. */
const ROWS_AT_ONCE = 100;
const LONGEST_MS = 60_000;

type Key = readonly StoredValue[];

/** What has become of rows of one table. */
interface TableChanges {
  readonly table: TableShape;
  /** As they are now. */
  readonly rows: readonly StoredRow[];
  /** Of those that are no more. */
  readonly gone: readonly Key[];
}

/**
 * Carries what one side has recorded over to the other: of each row that has changed its present state. Doing it again
 * does no harm, so that a record is struck out only when its row is safely there.
 */
export class Changes {
  readonly #from: Storage;
  readonly #to: Storage;
  readonly #tables: readonly TableShape[];

  /** `tables`: those first that others refer to. */
  constructor(from: Storage, to: Storage, tables: readonly TableShape[]) {
    this.#from = from;
    this.#to = to;
    this.#tables = tables.filter(({ key }) => key.length > 0);
  }

  /** Answers how many were carried over; 0 when there are none. Faults: `internal`/`move_differs` when a row is not there as it was sent, those of the storages. */
  async carry(): Promise<number> {
    for (let limit = CHANGES_AT_ONCE; ; limit *= 4) {
      const { changes, last, count } = await this.#read(limit);
      if (count === 0) return 0;
      try {
        await this.#to.transaction((tx) => apply(tx, changes), { timeoutMs: LONGEST_MS });
      } catch (error) {
        if (!isConflict(error)) throw error;
        // A row may refer to one whose change is not among these.
        if (count === limit && limit <= MOST_AT_ONCE) continue;
        await this.#oneByOne(changes, error);
      }
      await this.#check(changes);
      await this.#from.transaction((tx) => tx.db.deleteFrom(CHANGES).where('seq', '<=', last).execute());
      return count;
    }
  }

  /** At one moment: what is recorded, and the rows as they are then. */
  #read(limit: number): Promise<{ readonly changes: readonly TableChanges[]; readonly last: number; readonly count: number }> {
    return this.#from.transaction(async ({ db }) => {
      const recorded = (await db.selectFrom(CHANGES).selectAll().orderBy('seq').limit(limit).execute()) as ChangeRow[];
      const changes: TableChanges[] = [];
      for (const table of this.#tables) {
        const keys = new Set(recorded.filter(({ table_name }) => table_name === table.name).map(({ row_key }) => row_key));
        if (keys.size > 0) changes.push(await stateOf(db, table, [...keys].map((key) => JSON.parse(key) as Key)));
      }
      return { changes, last: recorded.at(-1)?.seq ?? 0, count: recorded.length };
    }, { timeoutMs: LONGEST_MS });
  }

  /** A row may take what must be unique from another one that comes later: as many rounds as there is something left that works. */
  async #oneByOne(changes: readonly TableChanges[], refusal: Fault): Promise<void> {
    const gone = [...changes].reverse().flatMap(({ table, gone }) => gone.map((key): TableChanges => ({ table, rows: [], gone: [key] })));
    const there = changes.flatMap(({ table, rows }) => rows.map((row): TableChanges => ({ table, rows: [row], gone: [] })));
    for (let left = [...gone, ...there]; left.length > 0; ) {
      const refused: TableChanges[] = [];
      for (const some of inParts(left)) {
        const outcomes = await Promise.allSettled(some.map((one) => this.#to.transaction((tx) => apply(tx, [one]), { timeoutMs: LONGEST_MS })));
        for (const [i, outcome] of outcomes.entries()) {
          if (outcome.status === 'fulfilled') continue;
          if (!isConflict(outcome.reason)) throw outcome.reason;
          refused.push(some[i]!);
        }
      }
      if (refused.length === left.length) throw refusal;
      // Each of a long row of them may wait for the one behind it.
      left = refused.reverse();
    }
  }

  async #check(changes: readonly TableChanges[]): Promise<void> {
    for (const { table, rows, gone } of changes) {
      const there = await stateOf(this.#to.db, table, [...rows.map((row) => keyOf(row, table)), ...gone]);
      const lines = new Set(there.rows.map((row) => rowLine(row, table.columns)));
      if (there.rows.length === rows.length && rows.every((row) => lines.has(rowLine(row, table.columns)))) continue;
      throw new Fault('internal', `Rows of ${table.name} that have changed are not on the other side as they were sent.`, { reason: 'move_differs' });
    }
  }
}

function isConflict(error: unknown): error is Fault {
  return Fault.is(error) && error.code === 'conflict';
}

async function stateOf(db: Kysely<any>, table: TableShape, keys: readonly Key[]): Promise<TableChanges> {
  const rows: StoredRow[] = [];
  for (const some of inParts(keys)) rows.push(...((await db.selectFrom(table.name).select([...table.columns]).where((eb) => oneOf(eb, table, some)).execute()) as StoredRow[]));
  const found = new Set(rows.map((row) => JSON.stringify(keyOf(row, table))));
  return { table, rows, gone: keys.filter((key) => !found.has(JSON.stringify(key))) };
}

/** Rows that are no more go first, those that refer to others before these; then come those that there are, the other way round. */
async function apply({ db }: StorageTransaction<any>, changes: readonly TableChanges[]): Promise<void> {
  for (const { table, gone } of [...changes].reverse()) {
    for (const some of inParts(gone)) await db.deleteFrom(table.name).where((eb) => oneOf(eb, table, some)).execute();
  }
  for (const { table, rows } of changes) {
    const others = table.columns.filter((column) => !table.key.includes(column));
    for (const some of inParts(rows)) {
      await db
        .insertInto(table.name)
        .values(some)
        .onConflict((conflict) => {
          const same = conflict.columns([...table.key]);
          return others.length === 0 ? same.doNothing() : same.doUpdateSet((eb) => Object.fromEntries(others.map((column) => [column, eb.ref(`excluded.${column}`)])));
        })
        .execute();
    }
  }
}

function oneOf(eb: ExpressionBuilder<any, any>, { key }: TableShape, keys: readonly Key[]): Expression<SqlBool> {
  return eb.or(keys.map((values) => eb.and(key.map((column, i) => eb(column, '=', values[i])))));
}

function keyOf(row: StoredRow, { key }: TableShape): Key {
  return key.map((column) => row[column]!);
}

function inParts<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / ROWS_AT_ONCE) }, (_, part) => all.slice(part * ROWS_AT_ONCE, (part + 1) * ROWS_AT_ONCE));
}
