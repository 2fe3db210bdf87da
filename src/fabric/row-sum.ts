import { hash } from 'node:crypto';

/** A row as text, the same whichever adapter it comes from: a JSON array of its values, bytes as `{"base64":"…"}`. */
export function rowLine(row: Readonly<Record<string, unknown>>, columns: readonly string[]): string {
  return JSON.stringify(columns.map((column) => encoded(row[column])));
}

function encoded(value: unknown): unknown {
  return ArrayBuffer.isView(value) ? { base64: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') } : value;
}

/** How many rows a table has and what they hold, in whatever order they come. */
export class RowSum {
  rows = 0;
  readonly #lanes = new BigUint64Array(4);

  /** The row's line. */
  add(line: string): void {
    this.rows++;
    const digest = hash('sha256', line, 'buffer');
    for (let lane = 0; lane < 4; lane++) this.#lanes[lane]! += digest.readBigUInt64LE(lane * 8);
  }

  get hash(): string {
    return Buffer.from(this.#lanes.buffer).toString('hex');
  }
}
