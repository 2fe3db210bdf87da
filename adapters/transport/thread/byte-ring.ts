import type { EpochMs } from '../../../src/kernel/clock.ts';

/*
 * Bytes from one thread to another through memory that both see: one writes, one reads, nobody waits. Two counters, of
 * the bytes ever written and ever read, wrap as 32-bit numbers; where they point to is their remainder by the size. The
 * bytes lie in pieces, each with its length and the time it was written before it, none across the end of the memory:
 * what does not fit before the end, or into the room that is left, goes on in the next piece. A piece is complete
 * before the counter shows it, so that a writer that dies in the middle leaves nothing half.
 *
 * Either end can say that it looks no more. The other takes that word back before it rings: who says so and then looks
 * once more misses nothing, since these loads and stores have one order in all threads.
 */

/** Each on a cache line of its own, in 32-bit words. */
const [WRITTEN, READ, READER_SLEEPS, WRITER_WAITS, ENDED] = [0, 16, 32, 48, 64] as const;
const CONTROL_BYTES = 512;
/** Before each piece: its length, and the time. Pieces begin at multiples of it. */
const HEAD_BYTES = 16;
const RING_BYTES = 256 * 1024;

/** The memory of a ring, for a `RingWriter` in one thread and a `RingReader` in another; `bytes` is a power of two, from 32 on. */
export function newRing(bytes = RING_BYTES): SharedArrayBuffer {
  return new SharedArrayBuffer(CONTROL_BYTES + bytes);
}

class RingEnd {
  protected readonly words: Int32Array;
  protected readonly bytes: Buffer;
  protected readonly lengths: Int32Array;
  protected readonly times: Float64Array;
  protected readonly size: number;

  constructor(memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory, 0, CONTROL_BYTES / Int32Array.BYTES_PER_ELEMENT);
    this.bytes = Buffer.from(memory, CONTROL_BYTES);
    this.lengths = new Int32Array(memory, CONTROL_BYTES);
    this.times = new Float64Array(memory, CONTROL_BYTES);
    this.size = this.bytes.length;
  }

  /** Whether a word was said; it is taken back. */
  protected takeBack(word: number): boolean {
    return Atomics.load(this.words, word) === 1 && Atomics.compareExchange(this.words, word, 1, 0) === 1;
  }
}

/** The end that writes. */
export class RingWriter extends RingEnd {
  #written = Atomics.load(this.words, WRITTEN);
  #read = Atomics.load(this.words, READ);

  /** Copies what there is room for; answers how many bytes that were, from none to all. */
  write(chunk: Uint8Array, writtenAt: EpochMs): number {
    let taken = 0;
    this.#read = Atomics.load(this.words, READ);
    while (taken < chunk.length) {
      const at = this.#written & (this.size - 1);
      const free = this.size - ((this.#written - this.#read) | 0);
      if (free === 0) break;
      const length = Math.min(chunk.length - taken, Math.min(free, this.size - at) - HEAD_BYTES);
      this.lengths[at / Int32Array.BYTES_PER_ELEMENT] = length;
      this.times[at / Float64Array.BYTES_PER_ELEMENT + 1] = writtenAt;
      this.bytes.set(length === chunk.length ? chunk : chunk.subarray(taken, taken + length), at + HEAD_BYTES);
      taken += length;
      this.#written = (this.#written + pieceBytes(length)) | 0;
    }
    Atomics.store(this.words, WRITTEN, this.#written);
    return taken;
  }

  /** Nothing more is written. */
  end(): void {
    Atomics.store(this.words, ENDED, 1);
  }

  /** Whether the reader has fallen asleep and is to be woken, by whoever asks first. */
  wakesReader(): boolean {
    return this.takeBack(READER_SLEEPS);
  }

  /** Asks to be told of room; false when there is more than the last `write` saw. */
  awaitRoom(): boolean {
    Atomics.store(this.words, WRITER_WAITS, 1);
    if (Atomics.load(this.words, READ) === this.#read) return true;
    Atomics.store(this.words, WRITER_WAITS, 0);
    return false;
  }
}

/** The end that reads. */
export class RingReader extends RingEnd {
  /** When the piece that is read just now was written. */
  writtenAt: EpochMs = Date.now();
  #read = Atomics.load(this.words, READ);
  /** Of the piece that is read just now. */
  #pieceBytes = 0;

  /** Whether the writer has ended and everything was read. */
  get isAtEnd(): boolean {
    return Atomics.load(this.words, ENDED) === 1 && Atomics.load(this.words, WRITTEN) === this.#read;
  }

  /** The next piece, which may be empty, or undefined when there is none. It lies in the ring: its bytes are valid until `release`, which is called once for each. */
  next(): Buffer | undefined {
    if (Atomics.load(this.words, WRITTEN) === this.#read) return undefined;
    const at = this.#read & (this.size - 1);
    const length = this.lengths[at / Int32Array.BYTES_PER_ELEMENT]!;
    this.writtenAt = this.times[at / Float64Array.BYTES_PER_ELEMENT + 1]!;
    this.#pieceBytes = pieceBytes(length);
    return this.bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length);
  }

  /** Gives back the room of the piece that `next` has given. */
  release(): void {
    this.#read = (this.#read + this.#pieceBytes) | 0;
    Atomics.store(this.words, READ, this.#read);
  }

  /** Whether the writer waits for room and is to be told, by whoever asks first. */
  wakesWriter(): boolean {
    return this.takeBack(WRITER_WAITS);
  }

  /** Says that it looks again only when it is woken; false when there is something to look at. */
  sleep(): boolean {
    Atomics.store(this.words, READER_SLEEPS, 1);
    if (Atomics.load(this.words, WRITTEN) === this.#read && Atomics.load(this.words, ENDED) === 0) return true;
    Atomics.store(this.words, READER_SLEEPS, 0);
    return false;
  }
}

function pieceBytes(length: number): number {
  return HEAD_BYTES + Math.ceil(length / HEAD_BYTES) * HEAD_BYTES;
}
