import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Storage, statement, type Snapshot } from '../../../src/ports/storage.ts';
import { rejectsWith } from '../../support/faults.ts';
import { onEachStorage, type Tables } from '../../support/storages.ts';

const count = statement<Tables, Tables['counters']>()((db, p) => db.insertInto('counters').values({ id: p('id'), n: p('n') }));

async function add(storage: Storage<Tables>, from: number, to: number): Promise<void> {
  await storage.transaction(async (tx) => {
    for (let n = from; n < to; n++) await tx.run(count, { id: `c${n}`, n });
  });
}

async function all(snapshot: Snapshot, table: string, batchRows = 100): Promise<Record<string, unknown>[]> {
  const found: Record<string, unknown>[] = [];
  for await (const rows of snapshot.rows(snapshot.tables.find(({ name }) => name === table)!, { batchRows })) {
    assert.ok(rows.length <= batchRows);
    found.push(...rows);
  }
  return found;
}

onEachStorage('snapshots', ({ open, create, place, migration }) => {
  test('every table as it was when the snapshot was taken, however much is written meanwhile', async (t) => {
    const storage = await open(t);
    await add(storage, 0, 1_000);
    const snapshot = await storage.snapshot();
    await add(storage, 1_000, 1_500);
    await storage.transaction((tx) => tx.db.insertInto('notes').values({ id: 'later', body: null, n: null, r: null, bytes: null }).execute());
    await storage.transaction((tx) => tx.db.deleteFrom('counters').where('n', '<', 500).execute());
    assert.equal((await all(snapshot, 'counters')).length, 1_000);
    assert.deepEqual(await all(snapshot, 'notes'), []);
    assert.equal((await all(snapshot, 'counters', 7)).length, 1_000);
    await snapshot.close();
    const next = await storage.snapshot();
    assert.equal((await all(next, 'counters')).length, 1_000);
    assert.equal((await all(next, 'notes')).length, 1);
    await Promise.all([next.close(), next.close()]);
  });

  test('lists the tables in the order of their making, with their columns and the one that is numbered', async (t) => {
    const storage = create(t, place(t));
    await storage.start();
    const numbered = { name: '0002-numbered', up: (db: any) => db.schema.createTable('numbered').addColumn('seq', 'integer', (c: any) => c.primaryKey().autoIncrement()).addColumn('text', 'text').execute() };
    await storage.migrate([migration, numbered]);
    await storage.transaction(async (tx) => {
      for (const text of ['a', 'b', 'c']) await (tx.db as any).insertInto('numbered').values({ text }).execute();
    });
    const snapshot = await storage.snapshot();
    assert.deepEqual(snapshot.tables.map(({ name }) => name), ['migrations', 'notes', 'counters', 'people', 'orders', 'numbered']);
    assert.deepEqual(snapshot.tables.find(({ name }) => name === 'orders'), { name: 'orders', columns: ['id', 'person', 'amount'], numbered: null, key: ['id'] });
    assert.equal(snapshot.tables.at(-1)!.numbered, 'seq');
    assert.deepEqual((await all(snapshot, 'numbered', 2)).map(({ text }) => text), ['a', 'b', 'c']);
    await snapshot.close();
  });

  test('values come as they do from any read', async (t) => {
    const storage = await open(t);
    const row = { id: 'n', body: 'naïve 🎉 \u{10ffff}', n: 2 ** 53 - 1, r: 0.1, bytes: new Uint8Array([0, 255, 10]) };
    await storage.transaction((tx) => tx.db.insertInto('notes').values(row).execute());
    const snapshot = await storage.snapshot();
    const [found] = (await all(snapshot, 'notes')) as unknown as [Tables['notes']];
    assert.deepEqual({ ...found, bytes: [...found.bytes!] }, { ...row, bytes: [...row.bytes] });
    await snapshot.close();
  });

  test('a consumer that stops early may read on in another table', async (t) => {
    const storage = await open(t);
    await add(storage, 0, 1_000);
    const snapshot = await storage.snapshot();
    for await (const _ of snapshot.rows(snapshot.tables.find(({ name }) => name === 'counters')!, { batchRows: 10 })) break;
    assert.equal((await all(snapshot, 'counters')).length, 1_000);
    await snapshot.close();
  });

  test('the stop of the storage ends it', async (t) => {
    const storage = await open(t);
    await add(storage, 0, 1_000);
    const snapshot = await storage.snapshot();
    const reading = all(snapshot, 'counters', 1);
    reading.catch(() => {});
    await storage.stop(1_000);
    await rejectsWith('unavailable', reading);
    await snapshot.close();
    await rejectsWith('unavailable', storage.snapshot());
  });
});
