import { createHash, type Hash } from 'node:crypto';
import { z } from 'zod';
import type { TableShape } from '../../ports/storage.ts';

/*
 * A backup is one gzip file of lines, each a JSON value:
 *
 *   {"multilith":"backup","format":1,…}              once: what follows, and what the installation has in common
 *   {"database":"portal","table":"people","columns":[…]}
 *   ["w1","p1",…]                                     a row, its values in the order of the columns; bytes as {"base64":"…"}
 *   {"complete":true,"tables":[…],"sha256":"…"}      last: counts and hashes. Without it the file is not whole
 *
 * Values are those of the storage port, so that what one adapter has written another can take in. A column that the
 * database numbers by itself is left out; the rows stand in its order, and get new numbers in it.
 */

export const FORMAT = 1;
/** The database of the messages, whichever bus has kept them. */
export const BUS = 'bus';

export const Header = z.object({
  multilith: z.literal('backup'),
  format: z.int(),
  /** When the state that it holds was; ISO 8601. */
  created: z.string(),
  /** The text of installation.json. */
  installation: z.string(),
  databases: z.array(z.object({ name: z.string(), /** Those that it has been through, in their order. */ migrations: z.array(z.string()) })),
});
export type Header = z.infer<typeof Header>;

export const TableHead = z.object({ database: z.string(), table: z.string(), columns: z.array(z.string()) });
export type TableHead = z.infer<typeof TableHead>;

const TableSum = z.object({ database: z.string(), table: z.string(), rows: z.int(), hash: z.string() });
export type TableSum = z.infer<typeof TableSum>;

export const Trailer = z.object({ complete: z.literal(true), tables: z.array(TableSum), /** Of all lines before it, line ends included. */ sha256: z.string() });
export type Trailer = z.infer<typeof Trailer>;

/** The columns of a table that a backup holds. */
export function keptColumns({ columns, numbered }: Pick<TableShape, 'columns' | 'numbered'>): string[] {
  return columns.filter((column) => column !== numbered);
}

/** The values of a line's row. */
export function valuesOf(row: readonly unknown[]): unknown[] {
  return row.map((value) => (value !== null && typeof value === 'object' ? Buffer.from((value as { base64: string }).base64, 'base64') : value));
}

/** The hash of all lines so far. */
export function lineHash(): Hash {
  return createHash('sha256');
}
