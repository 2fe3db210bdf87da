import type { Clock, EpochMs } from '../../../src/kernel/clock.ts';
import type { Counter, Log, Metrics } from '../../../src/kernel/telemetry.ts';

/** A statement is told of, with its plan, no more than once in this time. */
const QUIET_MS = 60_000;
/** All told of in that time; the rest is counted only. */
const MOST_TOLD = 50;
/** Of statements that were sent together; a plan each. */
const MOST_TOGETHER = 5;
/** A list of a thousand ids is text of no use. */
const TEXT_CHARACTERS = 2_000;

export interface SlowStatementsOptions {
  readonly name: string;
  /** 0: off. */
  readonly slowStatementMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** How the database would carry the statement out, whatever its values. */
  readonly explain: (text: string) => Promise<string>;
}

/**
 * Tells the log of statements that took long, as text with placeholders, never with their values, and of their plans.
 * Statements that went to a server together are told of together, since nobody knows which of them it was.
 */
export class SlowStatements {
  /** From how many milliseconds on it is worth calling `took`. */
  readonly thresholdMs: number;
  readonly #options: SlowStatementsOptions;
  readonly #slow: Counter;
  readonly #toldAt = new Map<string, EpochMs>();
  #untold = 0;
  #telling: Promise<void> = Promise.resolve();

  constructor(options: SlowStatementsOptions) {
    this.#options = options;
    this.thresholdMs = options.slowStatementMs === 0 ? Number.POSITIVE_INFINITY : options.slowStatementMs;
    this.#slow = options.metrics.counter('storage_slow_statements_total', 'Statements, or those sent together, that took longer than `slowStatementMs`.', ['storage']);
  }

  took(texts: readonly string[], ms: number): void {
    this.#slow.add(1, { storage: this.#options.name });
    this.#forgetOld();
    const news = [...new Set(texts)].filter((text) => !this.#toldAt.has(keyOf(text))).slice(0, MOST_TOGETHER);
    if (news.length === 0 || this.#toldAt.size + news.length > MOST_TOLD) {
      this.#untold++;
      return;
    }
    for (const text of news) this.#toldAt.set(keyOf(text), this.#options.clock.now());
    const untold = this.#untold;
    this.#untold = 0;
    this.#telling = this.#telling.then(() => this.#tell(news, Math.round(ms), untold));
  }

  /** Resolves when everything has been told. */
  told(): Promise<void> {
    return this.#telling;
  }

  #forgetOld(): void {
    const since = this.#options.clock.now() - QUIET_MS;
    for (const [key, at] of this.#toldAt) {
      if (at > since) return;
      this.#toldAt.delete(key);
    }
  }

  async #tell(texts: readonly string[], ms: number, untold: number): Promise<void> {
    const statements: { text: string; plan: string | null }[] = [];
    for (const text of texts) statements.push({ text: keyOf(text), plan: await this.#options.explain(text).catch(() => null) });
    this.#options.log.warn({ ms, statements, untold }, texts.length === 1 ? 'A statement took long.' : 'Statements that were sent together took long.');
  }
}

function keyOf(text: string): string {
  return text.length > TEXT_CHARACTERS ? `${text.slice(0, TEXT_CHARACTERS)}…` : text;
}
