import { setImmediate as nextTurn } from 'node:timers/promises';
import type { LongReader, Store } from '../../src/ports/storage.ts';

/** Of rows of up to 32 KB each: what one turn of the event loop can bear to read and turn into text. */
export const ROWS_A_TURN = 25;

/** Which part of a list. */
export interface Page {
  /** Behind the last one seen. */
  readonly before?: string | undefined;
  readonly limit: number;
  /** The position that the list must show at least: that of the asker's last change, null before the first. Left out: all that is committed. */
  readonly seen?: string | null | undefined;
}

/** Where a list is read from: whoever does not say what must be seen sees everything. */
export function readerOf<DB>(store: Store<DB>, { seen }: Pick<Page, 'seen'>): LongReader<DB> {
  return seen === undefined ? store : store.lists(seen);
}

/** Reads `limit` rows in pieces, each after the last row of the one before, and lets others have their turn in between. */
export async function readInPieces<Row>(limit: number, read: (limit: number, last: Row | undefined) => Promise<readonly Row[]>): Promise<Row[]> {
  const rows: Row[] = [];
  while (rows.length < limit) {
    const asked = Math.min(ROWS_A_TURN, limit - rows.length);
    const piece = await read(asked, rows.at(-1));
    rows.push(...piece);
    if (piece.length < asked) break;
    await nextTurn();
  }
  return rows;
}

/** Turns each item into text, with others having their turn in between. */
export async function toTexts<T>(items: readonly T[], toText: (item: T) => string): Promise<string[]> {
  const texts: string[] = [];
  for (const [i, item] of items.entries()) {
    texts.push(toText(item));
    if (i % ROWS_A_TURN === ROWS_A_TURN - 1) await nextTurn();
  }
  return texts;
}
