import { setImmediate as nextTurn } from 'node:timers/promises';

/** A batch also ends at about this size, so that few large rows do not become one large batch. */
const BATCH_BYTES = 1_048_576;
/** Before anything is known of a query's rows, each of which may have some 60 KB. */
const FIRST_ROWS = 25;

/** How many rows of a cursor to ask for next: the server counts rows, not bytes. */
export class FetchSize {
  readonly #most: number;
  #rows: number;

  constructor(most: number) {
    this.#most = most;
    this.#rows = Math.min(most, FIRST_ROWS);
  }

  get rows(): number {
    return this.#rows;
  }

  saw(rows: readonly object[]): void {
    const bytes = rows.reduce((sum, row) => sum + sizeOf(row), 0);
    this.#rows = Math.max(1, Math.min(this.#most, Math.floor((BATCH_BYTES * rows.length) / Math.max(bytes, 1))));
  }
}

/** The same rows in batches of bounded size, with a turn for others between them: those before may have been smaller. */
export async function* inBatches<Row extends object>(rows: Row[]): AsyncGenerator<Row[], void, void> {
  let from = 0;
  let bytes = 0;
  for (let i = 0; i < rows.length; i++) {
    bytes += sizeOf(rows[i]!);
    if (bytes < BATCH_BYTES || i === rows.length - 1) continue;
    yield rows.slice(from, i + 1);
    await nextTurn();
    from = i + 1;
    bytes = 0;
  }
  if (from < rows.length) yield from === 0 ? rows : rows.slice(from);
}

function sizeOf(row: object): number {
  let bytes = 0;
  for (const value of Object.values(row)) {
    bytes += typeof value === 'string' ? value.length * 2 : value instanceof Uint8Array ? value.byteLength : 8;
  }
  return bytes;
}
