/** Bounds what the requests under way hold in memory, all together. */
export class InFlight {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** One request's share, empty to begin with. */
  hold(): Hold {
    let held = 0;
    return {
      take: (bytes) => {
        if (this.#bytes + bytes > this.#maxBytes) return false;
        this.#bytes += bytes;
        held += bytes;
        return true;
      },
      release: () => {
        this.#bytes -= held;
        held = 0;
      },
    };
  }
}

export interface Hold {
  /** False, and nothing is taken, when that would be too much. */
  take(bytes: number): boolean;
  /** Gives back everything. Twice is once. */
  release(): void;
}
