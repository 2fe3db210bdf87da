import { setTimeout as pause } from 'node:timers/promises';
import { Fault } from '../../kernel/fault.ts';
import type { Snapshot, Storage } from '../../ports/storage.ts';

/** Nobody who writes is held up for longer. */
const HOLD_MS = 1_000;
const TRIES = 5;
const BETWEEN_TRIES_MS = 200;

export interface Moment {
  readonly snapshots: ReadonlyMap<string, Snapshot>;
  /** For how long somebody could not write. */
  readonly heldMs: number;
}

/**
 * All these databases as they are at one instant: what a power cut would leave that hits them together. A transaction
 * that does nothing takes the writer's place in each; once it stands in all of them nothing is being committed
 * anywhere, and each gives a snapshot. So a message that one database says it has sent is in that database, in the
 * bus's or in the receiver's, and none has an effect whose cause is missing.
 * Fault `unavailable`/`no_moment` when the writers cannot be held together within `holdMs`, five times in a row.
 */
export async function momentOf(databases: ReadonlyMap<string, Storage>, { holdMs = HOLD_MS } = {}): Promise<Moment> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt(databases, holdMs);
    } catch (error) {
      if (tries === TRIES) throw new Fault('unavailable', `The databases could not be held at one moment for a backup: ${(error as Error).message} Try again when the disk has less to do.`, { reason: 'no_moment', cause: error });
      await pause(BETWEEN_TRIES_MS);
    }
  }
}

async function attempt(databases: ReadonlyMap<string, Storage>, holdMs: number): Promise<Moment> {
  const hold = new Hold(holdMs);
  const holding = [...databases.values()].map((storage) => hold.enter(storage));
  const opening: Promise<Snapshot>[] = [];
  try {
    await hold.within(Promise.all(holding.map(({ inside }) => inside)));
    for (const storage of databases.values()) opening.push(storage.snapshot());
    const snapshots = await hold.within(Promise.all(opening));
    const heldMs = hold.release();
    // One that failed has let its writers go on before all the snapshots were there.
    await Promise.all(holding.map(({ over }) => over));
    return { snapshots: new Map([...databases.keys()].map((name, at) => [name, snapshots[at]!])), heldMs };
  } catch (error) {
    hold.release();
    await Promise.allSettled(opening.map(async (snapshot) => (await snapshot).close()));
    throw error;
  } finally {
    await Promise.allSettled(holding.map(({ over }) => over));
  }
}

/** Transactions that stand still together, for so long at most from the first. */
class Hold {
  readonly #released = Promise.withResolvers<void>();
  readonly #late = Promise.withResolvers<never>();
  readonly #mostMs: number;
  #timer: NodeJS.Timeout | undefined;
  #since = 0;

  constructor(mostMs: number) {
    this.#mostMs = mostMs;
    this.#late.promise.catch(() => {});
  }

  enter(storage: Storage): { readonly inside: Promise<void>; readonly over: Promise<void> } {
    const inside = Promise.withResolvers<void>();
    const over = storage.transaction(
      () => {
        this.#begin();
        inside.resolve();
        return this.#released.promise;
      },
      { timeoutMs: this.#mostMs * 2 },
    );
    over.catch(inside.reject);
    inside.promise.catch(() => {});
    return { inside: inside.promise, over };
  }

  within<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#late.promise]);
  }

  /** Lets them go; answers for how long they have been held, ms. */
  release(): number {
    clearTimeout(this.#timer);
    this.#released.resolve();
    return this.#since === 0 ? 0 : Math.round(performance.now() - this.#since);
  }

  #begin(): void {
    if (this.#since !== 0) return;
    this.#since = performance.now();
    this.#timer = setTimeout(() => this.#late.reject(new Fault('deadline', 'Some had stood still for long enough before others came to rest.')), this.#mostMs);
  }
}
