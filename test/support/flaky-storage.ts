import { Fault } from '../../src/kernel/fault.ts';
import type { Storage } from '../../src/ports/storage.ts';

/** When a transaction fails: before it began, instead of its commit, or after its commit, when nobody can tell. */
export type Breakage = 'unsent' | 'rolled back' | 'committed all the same' | undefined;

/** A storage whose transactions fail as `breaks` says; everything else is the real one's. */
export function flakyStorage<DB>(storage: Storage<DB>, breaks: () => Breakage): Storage<DB> {
  return new Proxy(storage, {
    get(target, property) {
      if (property === 'transaction') return flakyTransaction(target, breaks);
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function flakyTransaction<DB>(storage: Storage<DB>, breaks: () => Breakage): Storage<DB>['transaction'] {
  return async (work, options) => {
    const breakage = breaks();
    if (breakage === undefined) return storage.transaction(work, options);
    const fault = new Fault('unavailable', 'The disk failed, for a test.', { reason: 'storage', origin: breakage === 'unsent' ? 'unsent' : 'lost' });
    if (breakage === 'unsent') throw fault;
    await storage.transaction(async (tx) => {
      await work(tx);
      if (breakage === 'rolled back') throw fault;
    }, options);
    throw fault;
  };
}
