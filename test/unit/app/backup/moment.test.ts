import assert from 'node:assert/strict';
import { test } from 'node:test';
import { momentOf } from '../../../../src/app/backup/moment.ts';
import type { Storage } from '../../../../src/ports/storage.ts';
import { rejectsWith } from '../../../support/faults.ts';
import { seeded } from '../../../support/seed.ts';
import { onEachStorage, type Tables } from '../../../support/storages.ts';

/** A storage whose snapshots take their time before they are opened. */
function openedAfter(storage: Storage, ms: () => number): Storage {
  const late = async () => {
    await new Promise((resolve) => setTimeout(resolve, ms()));
    return storage.snapshot();
  };
  return new Proxy(storage, {
    get(target, property) {
      if (property === 'snapshot') return late;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

onEachStorage('databases at one moment', ({ open }) => {
  test('none shows what another does not know of yet, while one passes on what the other has', async (t) => {
    const databases = new Map<string, Storage>([['first', await open(t)], ['second', await open(t)], ['third', await open(t)]]);
    const stores = [...databases.values()] as Storage<Tables>[];
    for (const store of stores) await store.transaction((tx) => tx.db.insertInto('counters').values({ id: 'n', n: 0 }).execute());
    const random = seeded((line) => t.diagnostic(line));
    const slow = new Map([...databases].map(([name, storage]) => [name, openedAfter(storage, () => random.whole(20))]));
    let isOn = true;
    // Each number is in the first before it is in the second, and so on, and then comes round again.
    const passing = (async () => {
      for (let n = 1; isOn; n++) for (const store of stores) await store.transaction((tx) => tx.db.updateTable('counters').set({ n }).execute());
    })();
    let longestMs = 0;
    for (let round = 0; round < 15; round++) {
      const { snapshots, heldMs } = await momentOf(slow);
      const [first, second, third] = await Promise.all([...snapshots.values()].map(async (snapshot) => {
        for await (const rows of snapshot.rows(snapshot.tables.find(({ name }) => name === 'counters')!)) return rows[0]!.n as number;
        return assert.fail('the counter is missing');
      }));
      assert.ok(first! >= second! && second! >= third! && first! - third! <= 1, `${first}, ${second}, ${third}`);
      longestMs = Math.max(longestMs, heldMs);
      for (const snapshot of snapshots.values()) await snapshot.close();
    }
    isOn = false;
    await passing;
    assert.ok(longestMs <= 1_000);
    t.diagnostic(`writers held back for ${longestMs} ms at most`);
  });

  test('a database that does not come to rest lets the others go on in time, and is told of', async (t) => {
    const [busy, idle] = [await open(t), await open(t)];
    let isOn = true;
    const keeping = (async () => {
      while (isOn) await busy.transaction(() => new Promise<void>((resolve) => setTimeout(resolve, 300)));
    })();
    const asked = rejectsWith('unavailable', momentOf(new Map<string, Storage>([['busy', busy], ['idle', idle]]), { holdMs: 100 }), 'no_moment');
    const began = performance.now();
    await idle.transaction(async (tx) => void (await tx.db.insertInto('counters').values({ id: 'n', n: 0 }).execute()));
    assert.ok(performance.now() - began < 1_000);
    await asked;
    isOn = false;
    await keeping;
  });
});
