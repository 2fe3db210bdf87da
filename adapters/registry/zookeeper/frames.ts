const HEAD_BYTES = 4;

/** The longest packet that is taken in: a node of 1 MiB, or the names of some 80,000. */
const MOST_BYTES = 4 * 1024 * 1024;

/**
 * Cuts what a connection brings into packets, each with its length before it. The client library does so too, but by
 * copying everything that has not been read for each packet and each chunk, without a bound, and with a remainder that
 * outlives its connection.
 */
export class Frames {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** The packets that this chunk completes. Throws at a length that cannot be. */
  *take(chunk: Buffer): Generator<Buffer> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes >= HEAD_BYTES) {
      const size = HEAD_BYTES + this.#length();
      if (this.#bytes < size) return;
      const all = this.#joined();
      this.#chunks = [all.subarray(size)];
      this.#bytes -= size;
      yield all.subarray(0, size);
    }
  }

  #length(): number {
    if (this.#chunks[0]!.length < HEAD_BYTES) this.#joined();
    const length = this.#chunks[0]!.readInt32BE(0);
    if (length < 0 || length > MOST_BYTES) throw new RangeError(`a packet of ${length} bytes`);
    return length;
  }

  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }
}
