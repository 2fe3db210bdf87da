/** How often a module that starts is asked whether it has. */
export const ASK_AGAIN_MS = 100;
/** Let go by each answer: the line doubles its pace with each round trip, so that a module that is cold is not run over. */
const LET_GO = 2;
/** From so many on that were let go and not answered, each answer lets go only one. */
const MOST_AHEAD = 64;

/** Those who wait for a module to come back or to start. One of them asks now and then; once it answers, the others follow. */
export class Starting {
  /** When it was first heard that the module does not run; by the clock of whoever says so. */
  since: number;
  readonly #waiting = new Set<() => void>();
  /** Let go and, as far as is known, not answered. */
  #ahead = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(since: number) {
    this.since = since;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Answers what takes it back. */
  wait(listener: () => void): () => void {
    // Whoever was let go in vain is behind again.
    if (this.#ahead > 0) this.#ahead--;
    this.#waiting.add(listener);
    this.#askLater();
    return () => {
      this.#waiting.delete(listener);
      if (this.#waiting.size === 0) this.#rest();
    };
  }

  answered(now: number): void {
    this.since = now;
    if (this.#ahead > 0) this.#ahead--;
    this.letGo(this.#ahead < MOST_AHEAD ? LET_GO : 1);
  }

  /** Somebody can be asked, who may be cold. */
  begin(): void {
    this.#ahead = 0;
    this.letGo(LET_GO);
  }

  /** So many of them, those first who have waited longest. */
  letGo(count: number): void {
    const listeners: (() => void)[] = [];
    for (const listener of this.#waiting) {
      if (listeners.length >= count) break;
      listeners.push(listener);
      this.#waiting.delete(listener);
    }
    this.#ahead += listeners.length;
    if (this.#waiting.size === 0) this.#rest();
    for (const listener of listeners) listener();
  }

  /** Also while answers come: one that is lost must not hold up those behind it. */
  #askLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.letGo(1);
      if (this.#waiting.size > 0) this.#askLater();
    }, ASK_AGAIN_MS);
  }

  #rest(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
