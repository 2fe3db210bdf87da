import type { Log } from '../../kernel/telemetry.ts';

const ONE_LINE_PER_MS = 10_000;
/** Further causes share a line. */
const MOST_CAUSES = 32;

interface Cause {
  loggedAt: number;
  /** Since then. */
  unsaid: number;
}

/** Says why connections were refused: at once, and then at most one line in ten seconds for each cause, however many come. */
export class RefusedConnections {
  readonly #log: Log;
  readonly #causes = new Map<string, Cause>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** `from`: an address, for the first of a line. */
  note(cause: string, from: string | undefined, problem: string): void {
    const key = this.#causes.has(cause) || this.#causes.size < MOST_CAUSES ? cause : 'others';
    const known = this.#causes.get(key) ?? { loggedAt: -Infinity, unsaid: 0 };
    this.#causes.set(key, known);
    known.unsaid++;
    const now = performance.now();
    if (now - known.loggedAt < ONE_LINE_PER_MS) return;
    this.#log.warn({ from, problem, connections: known.unsaid }, cause);
    known.loggedAt = now;
    known.unsaid = 0;
  }
}
