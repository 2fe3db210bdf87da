import { hash } from 'node:crypto';

/** A row as text, the same whichever adapter it comes from: a JSON array of its values, bytes as `{"base64":"…"}`. */
export function rowLine(row: Readonly<Record<string, unknown>>, columns: readonly string[]): string {
  return JSON.stringify(columns.map((column) => encoded(row[column])));
}

function encoded(value: unknown): unknown {
  return ArrayBuffer.isView(value) ? { base64: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') } : value;
}

/** Numbers of 64 bits that are added up, each in two halves: BigInts would cost more than the hash. */
const LANES = 4;

/** How many rows a table has and what they hold, in whatever order they come. */
export class RowSum {
  rows = 0;
  readonly #low = new Uint32Array(LANES);
  readonly #high = new Uint32Array(LANES);

  /** The row's line. */
  add(line: string): void {
    this.rows++;
    // As text, each character a byte: a third of what a buffer costs.
    const digest = hash('sha256', line, 'binary');
    for (let lane = 0; lane < LANES; lane++) {
      const low = this.#low[lane]! + wordAt(digest, lane * 8);
      this.#low[lane] = low;
      this.#high[lane] = this.#high[lane]! + wordAt(digest, lane * 8 + 4) + (low > 0xffff_ffff ? 1 : 0);
    }
  }

  get hash(): string {
    const bytes = Buffer.alloc(LANES * 8);
    for (let lane = 0; lane < LANES; lane++) {
      bytes.writeUInt32LE(this.#low[lane]!, lane * 8);
      bytes.writeUInt32LE(this.#high[lane]!, lane * 8 + 4);
    }
    return bytes.toString('hex');
  }
}

function wordAt(text: string, at: number): number {
  return (text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8) | (text.charCodeAt(at + 2) << 16) | (text.charCodeAt(at + 3) << 24)) >>> 0;
}
