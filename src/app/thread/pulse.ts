const [BEATS, SENT, TAKEN] = [0, 1, 2] as const;
const WORDS = 3;

/** What a thread and its supervisor know of each other without a message: memory that both see. */
export class Pulse {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  /** Left out: a new one. */
  constructor(shared = new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT)) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
  }

  /** Another number after each beat: the thread's event loop turns. */
  get beats(): number {
    return Atomics.load(this.#words, BEATS);
  }

  beat(): void {
    Atomics.add(this.#words, BEATS, 1);
  }

  /** Log lines that the thread has sent and the host has not taken yet. */
  get linesUnderWay(): number {
    return (Atomics.load(this.#words, SENT) - Atomics.load(this.#words, TAKEN)) | 0;
  }

  lineSent(): void {
    Atomics.add(this.#words, SENT, 1);
  }

  lineTaken(): void {
    Atomics.add(this.#words, TAKEN, 1);
  }
}
