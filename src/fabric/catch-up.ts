import { Fault } from '../kernel/fault.ts';
import type { Storage, StoredRow, TableShape } from '../ports/storage.ts';
import type { MovableStorage } from './movable-storage.ts';
import { Changes } from './storage-changes.ts';
import { type Side, sideOf } from './storage-compare.ts';

const BATCH_ROWS = 500;
const LONGEST_MS = 60_000;
/** Of the second for which transactions may be held back; what is not done by then is tried again later. The rest is for the line in the record. */
const HOLD_MS = 600;
const TRIES = 20;
/** So few changes are left when transactions are held back. */
const FEW = 200;

export interface CatchUpOptions {
  readonly storage: MovableStorage;
  readonly tables: readonly TableShape[];
  /** Throws when there is no more to be done. */
  goOn(): void;
  carried(changes: number): void;
}

/** Brings one side of a movable storage to where the other is, and both to a standstill. */
export class CatchUp {
  readonly #options: CatchUpOptions;

  constructor(options: CatchUpOptions) {
    this.#options = options;
  }

  get tables(): readonly TableShape[] {
    return this.#options.tables;
  }

  /**
   * While both sides stand still and are the same, `look`, and then `settle` which of them counts from then on. What takes
   * too long until then is done again later, `tries` times in all: a side that hangs must not hold up everybody.
   */
  async hold<T>(from: Storage, to: Storage, look: () => Promise<Closable<T>>, settle: () => Promise<Storage>, tries = TRIES): Promise<T> {
    const { storage, goOn } = this.#options;
    for (let left = tries; left > 0; left--) {
      await this.most(from, to);
      goOn();
      let still: Promise<Closable<T> | undefined> = Promise.resolve(undefined);
      let seen: Closable<T> | undefined;
      // Those wait, too, that come while one under way ends.
      const until = performance.now() + HOLD_MS;
      await storage.hold(async () => {
        still = this.#carryRest(from, to, until).then((isDone) => (isDone ? look() : undefined));
        seen = await orNothing(still, Math.max(until - performance.now(), 0));
        return seen === undefined ? storage.side : settle();
      });
      if (seen !== undefined) return seen.value;
      await (await still)?.close();
    }
    throw new Fault('unavailable', 'So much is written, or the other storage is so slow, that it does not catch up.', { reason: 'move_too_slow' });
  }

  /** Until few are left. */
  async most(from: Storage, to: Storage): Promise<void> {
    for (let count = Infinity; count > FEW; ) {
      this.#options.goOn();
      count = await this.carry(from, to);
    }
  }

  /** False when it takes too long. */
  async #carryRest(from: Storage, to: Storage, until: number): Promise<boolean> {
    while ((await this.carry(from, to)) > 0) if (performance.now() > until) return false;
    for (const table of this.#options.tables) {
      if (table.key.length === 0) await this.#copyWhole(from, to, table);
      if (table.numbered === null) continue;
      const last = await from.contents.lastNumber(table);
      await to.transaction((tx) => to.contents.setLastNumber(tx, table, last));
    }
    return performance.now() <= until;
  }

  /** Of a table whose rows cannot be told apart. */
  async #copyWhole(from: Storage, to: Storage, table: TableShape): Promise<void> {
    const snapshot = await from.snapshot();
    try {
      await to.transaction(async (tx) => {
        await tx.db.deleteFrom(table.name).execute();
        for await (const batch of snapshot.rows(table, { batchRows: BATCH_ROWS })) await to.contents.insertion(table, batch as StoredRow[])(tx);
      }, { timeoutMs: LONGEST_MS });
    } finally {
      await snapshot.close();
    }
  }

  /** Some of what has changed; answers how much, 0 when there is no more. */
  async carry(from: Storage, to: Storage): Promise<number> {
    const { tables, carried } = this.#options;
    const count = await new Changes(from, to, tables).carry();
    carried(count);
    return count;
  }
}

/** What was seen at a standstill. */
export interface Closable<T> {
  readonly value: T;
  close(): Promise<void>;
}

export const nothing = async (): Promise<Closable<undefined>> => ({ value: undefined, close: async () => {} });

/** Both as they stand. */
export async function openSides(from: Storage, to: Storage): Promise<Closable<[Side, Side]>> {
  const here = await sideOf(from);
  try {
    const there = await sideOf(to);
    return { value: [here, there], close: async () => void (await Promise.all([here.snapshot.close(), there.snapshot.close()])) };
  } catch (error) {
    await here.snapshot.close();
    throw error;
  }
}

/** Undefined when it has not come by then; it still may. */
export async function orNothing<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout;
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(resolve, ms, undefined)));
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
