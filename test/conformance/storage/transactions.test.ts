import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Storage, type StorageTransaction, statement } from '../../../src/ports/storage.ts';
import { rejectsWith } from '../../support/faults.ts';
import { longestTurn } from '../../support/longest-turn.ts';
import { onEachStorage, type Tables } from '../../support/storages.ts';

const insertCounter = statement<Tables, { id: string; n: number }>()((db, p) => db.insertInto('counters').values({ id: p('id'), n: p('n') }));
const setCounter = statement<Tables, { id: string; n: number }>()((db, p) => db.updateTable('counters').set({ n: p('n') }).where('id', '=', p('id')));
const insertNew = statement<Tables, { id: string; n: number }>()((db, p) => db.insertInto('counters').values({ id: p('id'), n: p('n') }).onConflict((c) => c.doNothing()).returning('id'));
const counter = statement<Tables, { id: string }>()((db, p) => db.selectFrom('counters').select('n').where('id', '=', p('id')));

const ids = async (storage: Storage<Tables>): Promise<string[]> => (await storage.db.selectFrom('counters').select('id').orderBy('id').execute()).map((row) => row.id);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

onEachStorage('transactions', ({ open }) => {
  test('commits what work did and answers with its value', async (t) => {
    const storage = await open(t);
    const value = await storage.transaction(async (tx) => {
      await tx.run(insertCounter, { id: 'a', n: 1 });
      await tx.db.insertInto('counters').values({ id: 'b', n: 2 }).execute();
      return tx.run(counter, { id: 'a' });
    });
    assert.deepEqual(value, [{ n: 1 }]);
    assert.deepEqual(await ids(storage), ['a', 'b']);
  });

  test('a statement for many is the same as one by one, whatever it does', async (t) => {
    const storage = await open(t);
    const some = (from: number, to: number): { id: string; n: number }[] => Array.from({ length: to - from }, (_, i) => ({ id: String(from + i).padStart(3, '0'), n: from + i }));
    await storage.transaction(async (tx) => {
      assert.deepEqual(await tx.runMany(insertCounter, []), []);
      const given = some(0, 91);
      const inserted = tx.runMany(insertCounter, given);
      given.length = 0;
      assert.deepEqual(await inserted, []);
    });
    const added = await storage.transaction((tx) => tx.runMany(insertNew, [...some(80, 190), ...some(185, 195)]));
    assert.deepEqual(added.map(({ id }) => id).sort(), some(91, 195).map(({ id }) => id));
    await storage.transaction((tx) => tx.runMany(setCounter, [...some(0, 20), { id: '019', n: -1 }]));
    const found = await storage.transaction((tx) => tx.runMany(counter, some(17, 20)));
    assert.deepEqual(found.map(({ n }) => n).sort((a, b) => a - b), [-1, 17, 18]);
    const refused = storage.transaction(async (tx) => {
      await tx.runMany(insertCounter, some(300, 330));
      await tx.runMany(insertCounter, [...some(400, 420), ...some(7, 8)]);
    });
    await rejectsWith('conflict', refused, 'unique');
    await rejectsWith('invalid', storage.transaction((tx) => tx.runMany(insertCounter, [...some(500, 505), { id: 'a\0b', n: 1 }])), 'unstorable_text');
    assert.deepEqual(await ids(storage), some(0, 195).map(({ id }) => id));
  });

  test('rolls back and rejects with exactly what was thrown', async (t) => {
    const storage = await open(t);
    const thrown = new Error('mine');
    const outcome = storage.transaction(async (tx) => {
      await tx.run(insertCounter, { id: 'a', n: 1 });
      throw thrown;
    });
    await assert.rejects(outcome, (error) => error === thrown);
    assert.deepEqual(await ids(storage), []);
  });

  test('a throw before the first await is a rollback too', async (t) => {
    const storage = await open(t);
    await assert.rejects(
      storage.transaction(() => {
        throw new RangeError('at once');
      }),
      RangeError,
    );
    await storage.transaction(async (tx) => tx.run(insertCounter, { id: 'after', n: 1 }));
    assert.deepEqual(await ids(storage), ['after']);
  });

  test('one that fails does not touch its neighbours', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(insertCounter, { id: '05', n: 0 }));
    const outcomes = await Promise.allSettled(
      Array.from({ length: 50 }, (_, i) =>
        storage.transaction(async (tx) => {
          await tx.run(insertCounter, { id: `x${i}`, n: i });
          if (i % 3 === 0) throw new Error('every third');
          await tx.run(insertCounter, { id: String(i).padStart(2, '0'), n: i });
        }),
      ),
    );
    const written = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? [i] : []));
    assert.deepEqual(written, Array.from({ length: 50 }, (_, i) => i).filter((i) => i % 3 !== 0 && i !== 5));
    assert.deepEqual(await ids(storage), ['05', ...written.map((i) => String(i).padStart(2, '0')), ...written.map((i) => `x${i}`)].sort());
  });

  test('an error that work catches does not end its transaction', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(insertCounter, { id: 'a', n: 1 }));
    await storage.transaction(async (tx) => {
      await tx.run(insertCounter, { id: 'b', n: 1 });
      const [known] = await tx.run(counter, { id: 'a' });
      if (known === undefined) await tx.run(insertCounter, { id: 'a', n: 1 });
    });
    assert.deepEqual(await ids(storage), ['a', 'b']);
  });

  test('read-modify-write of 100 at once adds up', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(insertCounter, { id: 'sum', n: 0 }));
    await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        storage.transaction(async (tx) => {
          const [row] = await tx.run(counter, { id: 'sum' });
          if (i % 10 === 0) await turn();
          await tx.run(setCounter, { id: 'sum', n: row!.n + 1 });
        }),
      ),
    );
    assert.deepEqual(await storage.run(counter, { id: 'sum' }), [{ n: 100 }]);
  });

  test('readers see nothing of a transaction under way, which itself sees its writes', async (t) => {
    const storage = await open(t);
    let outside: unknown;
    await storage.transaction(async (tx) => {
      await tx.run(insertCounter, { id: 'a', n: 1 });
      assert.deepEqual(await tx.run(counter, { id: 'a' }), [{ n: 1 }]);
      outside = await storage.run(counter, { id: 'a' });
    });
    assert.deepEqual(outside, []);
    assert.deepEqual(await storage.run(counter, { id: 'a' }), [{ n: 1 }]);
  });

  test('when a transaction has resolved, readers see it', async (t) => {
    const storage = await open(t);
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        await storage.transaction((tx) => tx.run(insertCounter, { id: `r${i}`, n: i }));
        assert.deepEqual(await storage.run(counter, { id: `r${i}` }), [{ n: i }]);
      }),
    );
  });

  test('readers see nothing before it has been acknowledged, unless the database serves others too', async (t) => {
    const storage = await open(t);
    if (storage.capabilities.shared) return;
    for (let i = 0; i < 200; i++) {
      let acknowledged = false;
      const written = storage.transaction((tx) => tx.run(insertCounter, { id: `s${i}`, n: i })).then(() => (acknowledged = true));
      while ((await storage.run(counter, { id: `s${i}` })).length === 0) await turn();
      await turn();
      assert.ok(acknowledged, `row ${i} was seen before its transaction had resolved`);
      await written;
    }
  });

  test('a handle that is kept does nothing any more', async (t) => {
    const storage = await open(t);
    let kept: StorageTransaction<Tables> | undefined;
    await storage.transaction(async (tx) => void (kept = tx));
    await rejectsWith('internal', kept!.run(insertCounter, { id: 'late', n: 1 }), 'transaction_over');
    await rejectsWith('internal', kept!.db.insertInto('counters').values({ id: 'late', n: 1 }).execute(), 'transaction_over');
    // Not even while another transaction is open.
    await storage.transaction(async () => rejectsWith('internal', kept!.run(insertCounter, { id: 'late', n: 1 }), 'transaction_over'));
    assert.deepEqual(await ids(storage), []);
  });

  test('writes outside a transaction are refused', async (t) => {
    const storage = await open(t);
    await rejectsWith('internal', storage.run(insertCounter, { id: 'a', n: 1 }), 'write_outside_transaction');
    await rejectsWith('internal', storage.db.insertInto('counters').values({ id: 'a', n: 1 }).execute(), 'write_outside_transaction');
    await rejectsWith('internal', storage.db.updateTable('counters').set({ n: 2 }).execute(), 'write_outside_transaction');
    await rejectsWith('internal', storage.db.deleteFrom('counters').execute(), 'write_outside_transaction');
    assert.deepEqual(await ids(storage), []);
  });

  test('the query builder has no transactions of its own', async (t) => {
    const storage = await open(t);
    await rejectsWith('internal', storage.db.transaction().execute(async () => {}));
    await storage.transaction(async (tx) => rejectsWith('internal', tx.db.transaction().execute(async () => {})));
  });

  test('one that hangs is rolled back at its deadline and its neighbours go on', async (t) => {
    const storage = await open(t);
    const alive = setTimeout(() => {}, 10_000);
    t.after(() => clearTimeout(alive));
    let handle: StorageTransaction<Tables> | undefined;
    const hanging = storage.transaction(
      async (tx) => {
        handle = tx;
        await tx.run(insertCounter, { id: 'hung', n: 1 });
        await new Promise(() => {});
      },
      { timeoutMs: 50 },
    );
    const neighbours = ['a', 'b', 'c'].map((id) => storage.transaction((tx) => tx.run(insertCounter, { id, n: 1 })));
    await rejectsWith('deadline', hanging);
    await Promise.all(neighbours);
    await rejectsWith('deadline', handle!.run(insertCounter, { id: 'late', n: 1 }));
    assert.deepEqual(await ids(storage), ['a', 'b', 'c']);
  });

  test('what comes late from one that timed out is dropped', async (t) => {
    const storage = await open(t);
    const alive = setTimeout(() => {}, 10_000);
    t.after(() => clearTimeout(alive));
    let settle: (() => void) | undefined;
    await rejectsWith('deadline', storage.transaction(() => new Promise<void>((_, reject) => (settle = () => reject(new Error('late')))), { timeoutMs: 20 }));
    settle!();
    await turn();
    await storage.transaction((tx) => tx.run(insertCounter, { id: 'a', n: 1 }));
  });

  test('more than maxWaiting transactions are refused, and surely did not run', async (t) => {
    const storage = await open(t, { maxWaiting: 100 });
    const outcomes = await Promise.allSettled(Array.from({ length: 150 }, (_, i) => storage.transaction((tx) => tx.run(insertCounter, { id: `q${i}`, n: i }))));
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    assert.equal(refused.length, 50);
    for (const { reason } of refused) assert.deepEqual([reason.code, reason.origin], ['exhausted', 'unsent']);
    assert.equal((await ids(storage)).length, 100);
    await storage.transaction((tx) => tx.run(insertCounter, { id: 'again', n: 1 }));
  });

  test('a transaction of many statements lets the event loop have its turns', async (t) => {
    const storage = await open(t);
    const longest = longestTurn(t);
    await storage.transaction(
      async (tx) => {
        for (let i = 0; i < 30_000; i++) await tx.run(insertCounter, { id: `m${i}`, n: i });
      },
      { timeoutMs: 60_000 },
    );
    assert.ok(longest.ms() < 50, `the event loop waited ${longest.ms()} ms`);
  });
});
