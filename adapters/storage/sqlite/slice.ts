/** How long statements may follow one another before the event loop gets its turn. */
const SLICE_MS = 10;
/** Reading the clock costs a twentieth of a statement, so it is read this rarely. */
const STATEMENTS_PER_LOOK = 16;

/** Keeps a transaction of many statements, which would otherwise run in one go, from holding up the event loop. */
export class Slice {
  #since = 0;
  #statements = 0;

  /** To be called when the event loop has just had its turn. */
  begin(): void {
    this.#since = performance.now();
  }

  /** Nothing, or a promise for the event loop's next turn. Called after each statement. */
  pause(): Promise<void> | undefined {
    if (++this.#statements % STATEMENTS_PER_LOOK !== 0 || performance.now() - this.#since < SLICE_MS) return undefined;
    return nextTurn().then(() => this.begin());
  }
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
