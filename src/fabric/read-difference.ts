import type { StoredRow, TableShape } from '../ports/storage.ts';
import { rowLine } from './row-sum.ts';
import { namedKey } from './storage-compare.ts';

/** Of one read; more say nothing more. */
const ROWS_NAMED = 3;

export type ReadRows = StoredRow[];

/** What a read's text says of it. */
export interface ReadTraits {
  readonly tables: readonly string[];
  /** The order of its rows means something. */
  readonly isOrdered: boolean;
}

/** Without anything personal. */
export interface ReadDifference {
  readonly tables: readonly string[];
  readonly oldRows: number;
  readonly newRows: number;
  /** The same rows, in another order. */
  readonly isOrder: boolean;
  /** The first that only one side answered with, by such columns of keys as they have; see `namedKey`. */
  readonly rows: readonly string[];
}

/** Reads of several selects (a union, common table expressions) are ordered when the outermost one is. */
export function traitsOf(sql: string): ReadTraits {
  const tables = [...sql.matchAll(/\b(?:from|join)\s+"?(\w+)"?/gi)].map(([, name]) => name!);
  let outermost = sql;
  for (let before = ''; before !== outermost; ) [before, outermost] = [outermost, outermost.replaceAll(/\([^()]*\)/g, '')];
  return { tables: [...new Set(tables)], isOrdered: /\border\s+by\b/i.test(outermost) };
}

/** Undefined when both answers are the same. `shapes`: of tables whose rows are to be named. */
export function readDifference(old: ReadRows, answer: ReadRows, { tables, isOrdered }: ReadTraits, shapes: readonly TableShape[]): ReadDifference | undefined {
  const columns = [...new Set([old[0], answer[0]].flatMap((row) => Object.keys(row ?? {})))].sort();
  const [here, there] = [old, answer].map((rows) => rows.map((row) => rowLine(row, columns))) as [string[], string[]];
  if (areSame(here, there)) return undefined;
  const areSameRows = areSame(here.toSorted(), there.toSorted());
  if (areSameRows && !isOrdered) return undefined;
  const key = columns.filter((column) => shapes.some(({ name, key }) => tables.includes(name) && key.includes(column)));
  const only = (rows: ReadRows, lines: readonly string[], others: ReadonlySet<string>) => rows.filter((_, i) => !others.has(lines[i]!));
  const parted = areSameRows ? [] : [...only(old, here, new Set(there)), ...only(answer, there, new Set(here))];
  return { tables, oldRows: old.length, newRows: answer.length, isOrder: areSameRows, rows: key.length === 0 ? [] : parted.slice(0, ROWS_NAMED).map((row) => namedKey(row, key)) };
}

function areSame(here: readonly string[], there: readonly string[]): boolean {
  return here.length === there.length && here.every((line, i) => line === there[i]);
}
