/** First in, first out, each in constant time; what has been taken is let go of at once, even when it is never empty. */
export class Fifo<T> {
  #arriving: T[] = [];
  /** In reverse, so that the next one is at the cheap end. */
  #leaving: T[] = [];

  get length(): number {
    return this.#arriving.length + this.#leaving.length;
  }

  push(item: T): void {
    this.#arriving.push(item);
  }

  /** The oldest; undefined when there is none. */
  take(): T | undefined {
    if (this.#leaving.length === 0) {
      this.#leaving = this.#arriving.reverse();
      this.#arriving = [];
    }
    return this.#leaving.pop();
  }
}
