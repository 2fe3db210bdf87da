import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejectsWith } from '../../support/faults.ts';
import { onEachStorage } from '../../support/storages.ts';

onEachStorage('lifecycle', ({ create, place, open, migration }) => {
  test('stops before it started, and then does not start', async (t) => {
    const storage = create(t, place(t));
    await storage.stop(1_000);
    await storage.start();
    await rejectsWith('unavailable', storage.transaction(async () => {}));
  });

  test('starts twice and stops twice', async (t) => {
    const storage = create(t, place(t));
    await Promise.all([storage.start(), storage.start()]);
    await storage.migrate([migration]);
    await Promise.all([storage.stop(1_000), storage.stop(1_000)]);
    await storage.stop(1_000);
  });

  test('stops in the middle of starting', async (t) => {
    const where = place(t);
    const storage = create(t, where);
    const starting = storage.start();
    await Promise.all([starting, storage.stop(1_000)]);
    const next = create(t, where);
    await next.start();
    await next.migrate([migration]);
  });

  test('before start and after stop everything is unavailable and surely did not run', async (t) => {
    const storage = create(t, place(t));
    const asks = [() => storage.transaction(async () => {}), () => storage.db.selectFrom('notes').selectAll().execute(), () => storage.migrate([]), async () => storage.scan(storage.db.selectFrom('notes').selectAll())];
    for (const ask of asks) assert.equal((await rejectsWith('unavailable', ask())).origin, 'unsent');
    await storage.start();
    await storage.stop(1_000);
    for (const ask of asks) assert.equal((await rejectsWith('unavailable', ask())).origin, 'unsent');
  });

  test('finishes what is under way and what waits, refuses what is new', async (t) => {
    const where = place(t);
    const storage = create(t, where);
    await storage.start();
    await storage.migrate([migration]);
    const accepted = Array.from({ length: 20 }, (_, i) => storage.transaction((tx) => tx.db.insertInto('counters').values({ id: `c${i}`, n: i }).execute()));
    const stopping = storage.stop(5_000);
    await rejectsWith('unavailable', storage.transaction(async () => {}), 'stopped');
    await Promise.all([...accepted, stopping]);
    const next = create(t, where);
    await next.start();
    assert.equal((await next.db.selectFrom('counters').selectAll().execute()).length, 20);
  });

  test('gives up one that hangs when the deadline has passed', async (t) => {
    const where = place(t);
    const storage = create(t, where);
    await storage.start();
    await storage.migrate([migration]);
    const hanging = storage.transaction(async (tx) => {
      await tx.db.insertInto('counters').values({ id: 'hung', n: 1 }).execute();
      await new Promise(() => {});
    });
    const waiting = storage.transaction(async () => assert.fail('must not run'));
    const outcomes = Promise.allSettled([hanging, waiting]);
    // Until it is under way.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    await storage.stop(30);
    for (const outcome of await outcomes) assert.equal(outcome.status === 'rejected' && outcome.reason.code, 'unavailable');
    const next = create(t, where);
    await next.start();
    assert.deepEqual(await next.db.selectFrom('counters').selectAll().execute(), []);
  });

  test('what was written is there after a restart', async (t) => {
    const where = place(t);
    const storage = create(t, where);
    await storage.start();
    await storage.migrate([migration]);
    await storage.transaction((tx) => tx.db.insertInto('counters').values({ id: 'kept', n: 7 }).execute());
    await storage.stop(1_000);
    const next = create(t, where);
    await next.start();
    assert.deepEqual(await next.db.selectFrom('counters').selectAll().execute(), [{ id: 'kept', n: 7 }]);
  });

  test('two databases of one host know nothing of each other', async (t) => {
    const [one, other] = await Promise.all([open(t), open(t)]);
    await one.transaction((tx) => tx.db.insertInto('counters').values({ id: 'mine', n: 1 }).execute());
    assert.deepEqual(await other.db.selectFrom('counters').selectAll().execute(), []);
  });

  test('a database that is not shared refuses a second owner and goes on with the first', async (t) => {
    const where = place(t);
    const storage = create(t, where);
    await storage.start();
    await storage.migrate([migration]);
    if (storage.capabilities.shared) return;
    const second = create(t, where);
    const fault = await rejectsWith('unavailable', second.start(), 'locked');
    assert.equal(typeof fault.details.remedy, 'string');
    await second.stop(1_000);
    await storage.transaction((tx) => tx.db.insertInto('counters').values({ id: 'still', n: 1 }).execute());
    await storage.stop(1_000);
    const third = create(t, where);
    await third.start();
    assert.equal((await third.db.selectFrom('counters').selectAll().execute()).length, 1);
  });
});
