/**
 * Lets as many through as a channel can have under way. Whoever is let through has not been written down as `sending`
 * yet: what waits here can still be stopped by an opt-out, and costs nothing when the program ends.
 */
export class WireGate {
  readonly #line: (() => void)[] = [];
  #free: number;

  constructor(capacity: number) {
    this.#free = capacity;
  }

  /** Resolves when it is one's turn; each must `leave` once. */
  enter(): Promise<void> | undefined {
    if (this.#free > 0) {
      this.#free--;
      return undefined;
    }
    return new Promise((resolve) => this.#line.push(resolve));
  }

  leave(): void {
    const next = this.#line.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
