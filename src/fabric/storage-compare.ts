import { hash } from 'node:crypto';
import type { Snapshot, Storage, StoredRow, StoredValue, TableShape } from '../ports/storage.ts';
import { rowLine, RowSum } from './row-sum.ts';
import type { Tell } from './storage-copy.ts';
import { commonTables } from './storage-tables.ts';

const BATCH_ROWS = 1_000;
/** Of one table; more say nothing more. */
const ROWS_NAMED = 10;

export interface SideSum {
  readonly rows: number;
  /** The same on both sides when they hold the same rows, in whatever order. */
  readonly hash: string;
  /** That the table has given out; null where it numbers nothing. */
  readonly lastNumber: number | null;
}

/** A row of which one side has none, or another one. */
export interface RowDifference {
  /** Its key as text that holds nothing personal; see `namedKey`. */
  readonly key: string;
  readonly what: 'missing' | 'added' | 'differs';
}

export interface TableComparison {
  readonly table: string;
  readonly from: SideSum;
  readonly to: SideSum;
  readonly isSame: boolean;
  /** The first of them, by key; none named in a table without a key. */
  readonly differences: readonly RowDifference[];
}

/** Counts and sums over all tables of both sides, and where they differ the rows. Neither side may be written to meanwhile. */
export async function compareContents(from: Storage, to: Storage, tell: Tell): Promise<TableComparison[]> {
  const tables = await commonTables(from, to);
  const [here, there] = [await sideOf(from), await sideOf(to)];
  try {
    return await compareSides(tables, here, there, tell);
  } finally {
    await Promise.all([here.snapshot.close(), there.snapshot.close()]);
  }
}

/** One side as it stood at one moment. */
export interface Side {
  readonly snapshot: Snapshot;
  /** By table. */
  readonly lastNumbers: ReadonlyMap<string, number>;
}

/** The present state, to be closed. */
export async function sideOf(storage: Storage): Promise<Side> {
  const snapshot = await storage.snapshot();
  const lastNumbers = new Map<string, number>();
  for (const table of snapshot.tables) if (table.numbered !== null) lastNumbers.set(table.name, await storage.contents.lastNumber(table));
  return { snapshot, lastNumbers };
}

/** The same of two sides that stand still. */
export async function compareSides(tables: readonly TableShape[], from: Side, to: Side, tell: Tell): Promise<TableComparison[]> {
  const found: TableComparison[] = [];
  for (const table of tables) found.push(await compareTable(from, to, table, tell));
  return found;
}

async function compareTable(from: Side, to: Side, table: TableShape, tell: Tell): Promise<TableComparison> {
  const { name, key } = table;
  const [here, there] = await Promise.all([sumOf(from, table, (rows) => tell({ table: name, rows, of: null })), sumOf(to, table, () => {})]);
  tell({ table: name, rows: here.rows, of: here.rows });
  const isSame = here.rows === there.rows && here.hash === there.hash && here.lastNumber === there.lastNumber;
  return { table: name, from: here, to: there, isSame, differences: isSame || key.length === 0 ? [] : await differences(from, to, table) };
}

async function sumOf({ snapshot, lastNumbers }: Side, table: TableShape, tell: (rows: number) => void): Promise<SideSum> {
  const sum = new RowSum();
  for await (const batch of snapshot.rows(table, { batchRows: BATCH_ROWS })) {
    for (const row of batch) sum.add(rowLine(row, table.columns));
    tell(sum.rows);
  }
  return { rows: sum.rows, hash: sum.hash, lastNumber: table.numbered === null ? null : (lastNumbers.get(table.name) ?? 0) };
}

/** Both sides side by side in the order of their keys. */
async function differences(from: Side, to: Side, table: TableShape): Promise<RowDifference[]> {
  const { key, columns } = table;
  const ordered = ({ snapshot }: Side) => inTurn(snapshot.rows(table, { batchRows: BATCH_ROWS, byKey: true }) as AsyncIterable<StoredRow[]>);
  const [left, right] = [ordered(from), ordered(to)];
  const found: RowDifference[] = [];
  try {
    let [here, there] = [await left.next(), await right.next()];
    while (found.length < ROWS_NAMED && (!here.done || !there.done)) {
      const order = here.done ? 1 : there.done ? -1 : compareKeys(here.value, there.value, key);
      const what = order < 0 ? 'missing' : order > 0 ? 'added' : rowLine(here.value!, columns) === rowLine(there.value!, columns) ? undefined : 'differs';
      if (what !== undefined) found.push({ key: namedKey((order > 0 ? there : here).value!, key), what });
      if (order <= 0) here = await left.next();
      if (order >= 0) there = await right.next();
    }
  } finally {
    await Promise.all([left.return(undefined), right.return(undefined)]);
  }
  return found;
}

async function* inTurn(batches: AsyncIterable<StoredRow[]>): AsyncGenerator<StoredRow, undefined> {
  for await (const batch of batches) yield* batch;
}

/** As both databases order them: numbers by size, text by its bytes. */
function compareKeys(a: StoredRow, b: StoredRow, key: readonly string[]): number {
  for (const column of key) {
    const order = compareValues(a[column]!, b[column]!);
    if (order !== 0) return order;
  }
  return 0;
}

function compareValues(a: StoredValue, b: StoredValue): number {
  if (a === b) return 0;
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return Buffer.compare(bytesOf(a), bytesOf(b));
}

function bytesOf(value: StoredValue): Uint8Array {
  return typeof value === 'object' && value !== null ? value : Buffer.from(String(value));
}

/** As ids of ours are. */
export const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * `workspace=0190…, value=sha256:1b4f0e9851971998`: numbers and ids of ours as they are, anything else, which may be an
 * address or a name, by the beginning of its hash.
 */
export function namedKey(row: StoredRow, key: readonly string[]): string {
  return key.map((column) => `${column}=${named(row[column]!)}`).join(', ');
}

function named(value: StoredValue): string {
  if (value === null || typeof value === 'number' || (typeof value === 'string' && UUID.test(value))) return String(value);
  return `sha256:${hash('sha256', value).slice(0, 16)}`;
}
