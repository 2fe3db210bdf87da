import { type Kysely, sql } from 'kysely';
import { Fault } from '../kernel/fault.ts';
import type { IndexDefinition, Migration, Storage, StoredRow, StoredValue, TableShape } from '../ports/storage.ts';
import { commonTables, contentTables, migrationsIn } from './storage-tables.ts';

/** Rows that are read at once, and about so much of them in one transaction of the target: each costs some trips and an fsync. */
const BATCH_ROWS = 1_000;
/** Fewer while others work with both. */
const MOMENT_ROWS = 500;
const TRANSACTION_ROWS = 5_000;
const TRANSACTION_CHARACTERS = 2_000_000;
/** Rows taken out in one transaction where a copy begins anew. */
const CLEAR_ROWS = 10_000;
const LONGEST_MS = 60_000;

/** How far a step is, in one table after the other. */
export interface TableProgress {
  readonly table: string;
  /** Of this step, rows that were there before included. */
  readonly rows: number;
  /** Of the table; null where nobody has counted them yet. */
  readonly of: number | null;
}
export type Tell = (progress: TableProgress) => void;

/** Before anything is written to it. Faults: `conflict`/`target_not_empty` when it has rows, or tables that these migrations have not made. */
export async function requireFree(storage: Storage, migrations: readonly Migration[]): Promise<void> {
  const snapshot = await storage.snapshot();
  const applied = await migrationsIn(snapshot).finally(() => snapshot.close());
  const isOurs = applied.length > 0 ? applied.every((name) => migrations.some((migration) => migration.name === name)) : snapshot.tables.length === 0;
  if (isOurs && (await isEmpty(storage))) return;
  throw new Fault('conflict', `The new storage holds something already: ${storage.contents.place}.`, { reason: 'target_not_empty', details: { remedy: 'Name an empty one, or take away what is there: the file of a SQLite database (with -wal and -lock), or "drop schema … cascade".' } });
}

/** Nobody has kept anything in it. */
export async function isEmpty(storage: Storage): Promise<boolean> {
  for (const { name } of await contentTables(storage)) {
    if ((await storage.db.selectFrom(name).select(sql`1`.as('one')).limit(1).execute()).length > 0) return false;
  }
  return true;
}

/** Takes all rows out, of tables last to which others refer. */
export async function clear(storage: Storage): Promise<void> {
  for (const table of (await contentTables(storage)).reverse()) await clearTable(storage, table);
}

/** A database takes rows several times as fast without them; they are made again at the end. */
export async function dropIndexes(storage: Storage, indexes: readonly IndexDefinition[]): Promise<void> {
  for (const { name } of indexes) await storage.transaction((tx) => tx.db.schema.dropIndex(name).ifExists().execute());
}

/**
 * Adds what a copy that was cut short has not: rows go over in the order of their keys, so that the last one there says
 * where it stopped. A table without a key is copied whole each time. Neither side may be written to meanwhile.
 */
export async function copyContents(from: Storage, to: Storage, tell: Tell): Promise<void> {
  for (const table of await commonTables(from, to)) {
    await copyTable(from, to, table, tell);
    if (table.numbered === null) continue;
    const last = await from.contents.lastNumber(table);
    await to.transaction((tx) => to.contents.setLastNumber(tx, table, last));
  }
}

/** One moment of `from`, while it is worked with; in an order in which no row refers to one that is not there. `tell` may throw. */
export async function copyMoment(from: Storage, to: Storage, tables: readonly TableShape[], tell: (table: string, rows: number) => void): Promise<void> {
  const snapshot = await from.snapshot();
  try {
    for (const table of tables) {
      let rows = 0;
      for await (const batch of snapshot.rows(table, { batchRows: MOMENT_ROWS })) {
        await to.transaction(to.contents.insertion(table, batch as StoredRow[]), { timeoutMs: LONGEST_MS });
        tell(table.name, (rows += batch.length));
      }
    }
  } finally {
    await snapshot.close();
  }
}

async function copyTable(from: Storage, to: Storage, table: TableShape, tell: Tell): Promise<void> {
  const { name, columns, key } = table;
  const of = await countRows(from, name);
  if (key.length === 0) await clearTable(to, table);
  const last = await lastRow(to.db, table);
  let rows = last === undefined ? 0 : await countRows(to, name);
  tell({ table: name, rows, of });
  const all = from.db.selectFrom(name).select([...columns]);
  const after = last === undefined ? all : all.where(sql<boolean>`(${sql.join(key.map((column) => sql.ref(column)))}) > (${sql.join(key.map((column) => last[column]))})`);
  const inOrder = key.reduce((query, column) => query.orderBy(column), after);
  let adding: Promise<unknown> = Promise.resolve();
  try {
    for await (const batch of gathered(from.scan<StoredRow>(inOrder, { batchRows: BATCH_ROWS }))) {
      // Made ready while the one before it is being written.
      const insertion = to.contents.insertion(table, batch);
      await adding;
      adding = to.transaction(insertion, { timeoutMs: LONGEST_MS });
      adding.catch(() => {});
      tell({ table: name, rows: (rows += batch.length), of });
    }
    await adding;
  } catch (error) {
    // Whoever tries again must find where it has stopped.
    await adding.catch(() => {});
    throw Fault.is(error) && error.code === 'conflict' ? new Fault('conflict', `The table ${name} of the new storage takes a row not as it is, or has it already.`, { reason: 'target_changed', cause: error }) : error;
  }
}

/** Fewer and larger ones. */
async function* gathered(batches: AsyncIterable<StoredRow[]>): AsyncGenerator<StoredRow[], void, void> {
  let rows: StoredRow[] = [];
  let characters = 0;
  for await (const batch of batches) {
    for (const row of batch) {
      rows.push(row);
      for (const column in row) characters += sizeOf(row[column]!);
    }
    if (rows.length < TRANSACTION_ROWS && characters < TRANSACTION_CHARACTERS) continue;
    yield rows;
    [rows, characters] = [[], 0];
  }
  if (rows.length > 0) yield rows;
}

function sizeOf(value: StoredValue): number {
  return typeof value === 'object' ? (value?.byteLength ?? 0) : typeof value === 'string' ? value.length : 8;
}

async function lastRow(db: Kysely<any>, { name, key }: TableShape): Promise<StoredRow | undefined> {
  if (key.length === 0) return undefined;
  const backwards = key.reduce((query, column) => query.orderBy(column, 'desc'), db.selectFrom(name).select([...key]));
  return (await backwards.limit(1).execute())[0] as StoredRow | undefined;
}

/** Off the event loop, however many there are. */
async function countRows(storage: Storage, table: string): Promise<number> {
  let count = 0;
  for await (const [row] of storage.scan<{ n: number }>(storage.db.selectFrom(table).select(sql<number>`count(*)`.as('n')))) count = row!.n;
  return count;
}

async function clearTable(storage: Storage, { name, key }: TableShape): Promise<void> {
  if (key.length === 0) return void (await storage.transaction((tx) => tx.db.deleteFrom(name).execute(), { timeoutMs: LONGEST_MS }));
  const columns = sql.join(key.map((column) => sql.ref(column)));
  const some = sql`DELETE FROM ${sql.table(name)} WHERE (${columns}) IN (SELECT ${columns} FROM ${sql.table(name)} LIMIT ${CLEAR_ROWS})`;
  for (let removed = CLEAR_ROWS; removed === CLEAR_ROWS; ) removed = Number((await storage.transaction((tx) => some.execute(tx.db), { timeoutMs: LONGEST_MS })).numAffectedRows);
}
