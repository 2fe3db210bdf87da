import { HEADER_BYTES, lengthIn, PREAMBLE, requireIntact, WireError } from './frames.ts';

/**
 * Cuts what arrives into frames. Holds at most one unfinished frame, in a buffer that grows with what has really
 * arrived: a header that promises much costs nothing.
 */
export class FrameReader {
  /** The longest body that is taken. */
  limit: number;
  readonly #take: (body: Buffer) => boolean;
  #preambleLeft: number;
  #number = 0;
  #held: Buffer = Buffer.alloc(0);
  #heldBytes = 0;

  /** `take` gets each body, valid until it returns, and answers whether to go on. */
  constructor(limit: number, expectsPreamble: boolean, take: (body: Buffer) => boolean) {
    this.limit = limit;
    this.#preambleLeft = expectsPreamble ? PREAMBLE.length : 0;
    this.#take = take;
  }

  /** @throws WireError when the bytes are not of this protocol. */
  push(chunk: Buffer): void {
    let at = this.#preambleLeft > 0 ? this.#readPreamble(chunk) : 0;
    if (this.#heldBytes > 0) {
      at = this.#complete(chunk, at);
      if (at < 0) return;
    }
    while (chunk.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + this.#lengthAt(chunk, at);
      if (end > chunk.length) break;
      if (!this.#read(chunk, at, end)) return;
      at = end;
    }
    if (at < chunk.length) this.#hold(chunk, at, chunk.length);
  }

  #readPreamble(chunk: Buffer): number {
    const count = Math.min(this.#preambleLeft, chunk.length);
    const from = PREAMBLE.length - this.#preambleLeft;
    if (chunk.compare(PREAMBLE, from, from + count, 0, count) !== 0) throw new WireError('It does not speak this protocol.');
    this.#preambleLeft -= count;
    return count;
  }

  /** Finishes the frame that is held, with the beginning of `chunk`; answers where the next begins, or -1. */
  #complete(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#heldBytes < HEADER_BYTES) {
      at = this.#holdUpTo(HEADER_BYTES, chunk, at);
      if (this.#heldBytes < HEADER_BYTES) return -1;
    }
    const whole = HEADER_BYTES + this.#lengthAt(this.#held, 0);
    at = this.#holdUpTo(whole, chunk, at);
    if (this.#heldBytes < whole) return -1;
    this.#heldBytes = 0;
    const frame = this.#held;
    this.#held = Buffer.alloc(0);
    return this.#read(frame, 0, whole) ? at : -1;
  }

  #holdUpTo(whole: number, chunk: Buffer, from: number): number {
    const end = Math.min(from + whole - this.#heldBytes, chunk.length);
    this.#hold(chunk, from, end);
    return end;
  }

  #hold(chunk: Buffer, from: number, to: number): void {
    const needed = this.#heldBytes + to - from;
    if (needed > this.#held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#heldBytes * 2));
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    chunk.copy(this.#held, this.#heldBytes, from, to);
    this.#heldBytes = needed;
  }

  #lengthAt(bytes: Buffer, at: number): number {
    const length = lengthIn(bytes, at);
    if (length === 0 || length > this.limit) throw new WireError(`It sent a frame of ${length} bytes; 1 to ${this.limit} are taken.`);
    return length;
  }

  #read(bytes: Buffer, at: number, end: number): boolean {
    const body = bytes.subarray(at + HEADER_BYTES, end);
    requireIntact(bytes, at, body, this.#number++);
    return this.#take(body);
  }
}
