import type { Log } from '../../kernel/telemetry.ts';

const ONE_LINE_PER_MS = 60_000;
/** Who was refused lately and for which cause; what comes on top shares a line for each cause. */
const MOST_REMEMBERED = 64;

interface Refused {
  readonly loggedAt: number;
  /** Since then. */
  unsaid: number;
}

/**
 * Says who was refused and why: at once, and then at most one line a minute for each address and cause, however often it
 * comes; beyond 64 of them in a minute one line for each cause.
 */
export class RefusedConnections {
  readonly #log: Log;
  readonly #now: () => number;
  /** By cause and address, or by cause alone; the oldest line first. */
  readonly #lately = new Map<string, Refused>();

  /** `now`: monotonic, in ms. */
  constructor(log: Log, now: () => number = () => performance.now()) {
    this.#log = log;
    this.#now = now;
  }

  /** `from`: an address without its port, which is another one each time. */
  note(cause: string, from: string | undefined, problem: string): void {
    const now = this.#now();
    const key = this.#roomFor(`${cause} ${from}`, now) ? `${cause} ${from}` : cause;
    const known = this.#lately.get(key) ?? { loggedAt: -Infinity, unsaid: 0 };
    known.unsaid++;
    if (now - known.loggedAt < ONE_LINE_PER_MS) return void this.#lately.set(key, known);
    this.#log.warn({ from, problem, connections: known.unsaid }, cause);
    this.#lately.delete(key);
    this.#lately.set(key, { loggedAt: now, unsaid: 0 });
  }

  #roomFor(key: string, now: number): boolean {
    if (this.#lately.has(key)) return true;
    for (const [old, { loggedAt }] of this.#lately) {
      if (now - loggedAt < ONE_LINE_PER_MS) break;
      this.#lately.delete(old);
    }
    return this.#lately.size < MOST_REMEMBERED;
  }
}
