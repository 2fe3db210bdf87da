const FIRST_MS = 1_000;
const MOST_MS = 30_000;
/** After so long without trouble the next trouble is the first again. */
const QUIET_MS = 60_000;

/** How long to wait before each restart: doubling from 1 s to 30 s while the trouble goes on. */
export class Pauses {
  #nextMs = FIRST_MS;

  /** `quietMs`: how long it had worked before it broke; 0 when it did not even start. */
  after(quietMs: number): number {
    if (quietMs >= QUIET_MS) this.#nextMs = FIRST_MS;
    const pauseMs = this.#nextMs;
    this.#nextMs = Math.min(2 * this.#nextMs, MOST_MS);
    return pauseMs;
  }
}
