import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { sideThread } from '../../../../../adapters/storage/sqlite/side-thread.ts';
import { rejectsWith } from '../../../../support/faults.ts';
import { underTest } from '../../../../support/storages.ts';

async function count(batches: AsyncIterable<unknown[]>): Promise<number> {
  let rows = 0;
  for await (const batch of batches) rows += batch.length;
  return rows;
}

test('is started when first needed and gone with the last storage', async (t) => {
  const under = underTest('sqlite');
  const [one, two] = [await under.open(t), await under.open(t)];
  assert.equal(sideThread.running, false);
  assert.equal(await count(one.scan(one.db.selectFrom('counters').selectAll())), 0);
  assert.equal(sideThread.running, true);
  await one.stop(1_000);
  assert.equal(await count(two.scan(two.db.selectFrom('counters').selectAll())), 0);
  await two.stop(1_000);
  assert.equal(sideThread.running, false);
});

test('one that dies ends its reads with a fault; the next read starts another', async (t) => {
  const workers: Worker[] = [];
  const note = (message: unknown) => void workers.push((message as { worker: Worker }).worker);
  subscribe('worker_threads', note);
  t.after(() => void unsubscribe('worker_threads', note));
  const storage = await underTest('sqlite').open(t);
  await storage.transaction(async (tx) => {
    for (let i = 0; i < 100; i++) await tx.db.insertInto('counters').values({ id: String(i), n: i }).execute();
  });
  const everything = storage.db.selectFrom('counters').selectAll();
  const reading = (async () => {
    for await (const _ of storage.scan(everything, { batchRows: 1 })) await workers[0]!.terminate();
  })();
  await rejectsWith('unavailable', reading, 'side_thread');
  await storage.transaction((tx) => tx.db.insertInto('counters').values({ id: 'after', n: 1 }).execute());
  assert.equal(await count(storage.scan(everything)), 101);
  assert.equal(workers.length, 2);
});

test('a cursor that the thread does not know is a fault, not the end of the rows', async (t) => {
  await underTest('sqlite').open(t);
  await rejectsWith('unavailable', sideThread.next(sideThread.newCursor()), 'side_thread');
});
