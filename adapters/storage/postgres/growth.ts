import { type Kysely, sql } from 'kysely';
import { atMost } from '../shared/at-most.ts';
import type { Session } from './session.ts';

/** How often, at most, tables are looked at while they are written to. */
const LOOK_MS = 1_000;
/** Of fewer rows any plan will do. */
const FEW_ROWS = 25;
const ANALYZE_MS = 60_000;
const CLOSE_MS = 1_000;

export interface GrowthOptions {
  /** A reader's. */
  readonly db: Kysely<any>;
  /** Opens a connection of its own: a reader's may be waited for. Throws what pg throws. */
  readonly connect: () => Promise<Session>;
}

/**
 * Has the server count tables anew that have grown to twice what it took them for. It keeps the plan of a prepared
 * statement until then, and one made for an empty table reads all of it, or by the wrong index; autovacuum would see to
 * that within minutes, in which a young installation takes its first thousands of people.
 */
export class Growth {
  readonly #options: GrowthOptions;
  #lookedAt = 0;
  #looking: Promise<void> | undefined;
  #session: Session | undefined;
  #isOver = false;

  constructor(options: GrowthOptions) {
    this.#options = options;
  }

  /** To be told of each commit. What fails is tried again after a later one. */
  committed(): void {
    const now = performance.now();
    if (this.#isOver || this.#looking !== undefined || now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    this.#looking = this.#look()
      .catch(() => {})
      .finally(() => (this.#looking = undefined));
  }

  /** Gives up what is under way. */
  async stop(deadlineMs: number): Promise<void> {
    this.#isOver = true;
    this.#session?.destroy();
    if (this.#looking !== undefined) await atMost(deadlineMs, this.#looking);
  }

  async #look(): Promise<void> {
    const names = await this.#grown();
    if (names.length === 0 || this.#isOver) return;
    const session = (this.#session = await this.#options.connect());
    try {
      // One by one: several in one trip would be one transaction, which keeps the locks of all.
      while (names.length > 0 && !this.#isOver) await session.within(ANALYZE_MS, session.control(`ANALYZE "${names.pop()!}"`));
    } finally {
      this.#session = undefined;
      await session.close(CLOSE_MS);
    }
  }

  async #grown(): Promise<string[]> {
    const { rows } = await sql<{ name: string }>`
      SELECT relname AS name FROM pg_class
      WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND pg_stat_get_live_tuples(oid) > 2 * greatest(reltuples, ${sql.lit(FEW_ROWS)})`.execute(this.#options.db);
    return rows.map(({ name }) => name);
  }
}
