import { setImmediate as nextTurn } from 'node:timers/promises';
import { toFault } from './fault.ts';

/** How one of many fared; a fault is its own and says nothing about the others. */
export type Fared<R> = { readonly value: R } | { readonly fault: unknown };

/** Faults that would meet each one alone as well. */
const OUTAGES: ReadonlySet<string> = new Set(['unavailable', 'exhausted', 'cancelled']);

/**
 * Does for many at once what is asked for one by one: what comes while work is under way is done together when that is
 * over, so that nobody waits for company. When the work fails, for a reason that may lie in one of them, each is done alone.
 */
export class Together<T, R> {
  readonly #most: number;
  readonly #work: (all: readonly T[]) => Promise<readonly Fared<R>[]>;
  #waiting: { readonly item: T; readonly tell: (fared: Fared<R>) => void }[] = [];
  #isWorking = false;

  /** `most`: of one piece of work. `work` answers in the order of what it is given, and has no effect when it rejects. */
  constructor(most: number, work: (all: readonly T[]) => Promise<readonly Fared<R>[]>) {
    this.#most = most;
    this.#work = work;
  }

  ask(item: T): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, tell: (fared) => ('value' in fared ? resolve(fared.value) : reject(fared.fault as Error)) });
      if (!this.#isWorking) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isWorking = true;
    while (this.#waiting.length > 0) {
      // Whoever asks in the same turn of the event loop is of the party.
      await nextTurn();
      const some = this.#waiting.splice(0, this.#most);
      const fared = await this.#fare(some.map(({ item }) => item));
      some.forEach(({ tell }, i) => tell(fared[i]!));
    }
    this.#isWorking = false;
  }

  async #fare(all: readonly T[]): Promise<readonly Fared<R>[]> {
    try {
      return await this.#work(all);
    } catch (fault) {
      if (all.length === 1 || OUTAGES.has(toFault(fault).code)) return all.map(() => ({ fault }));
    }
    const fared: Fared<R>[] = [];
    for (const one of all) fared.push(...(await this.#fare([one])));
    return fared;
  }
}
