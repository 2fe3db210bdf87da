import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import type { Storage } from '../../../src/ports/storage.ts';
import { rejectsWith } from '../../support/faults.ts';
import { heldMb } from '../../support/held-memory.ts';
import { longestTurn } from '../../support/longest-turn.ts';
import { onEachStorage, type Tables } from '../../support/storages.ts';

async function fill(storage: Storage<Tables>, rows: number): Promise<void> {
  const body = 'x'.repeat(100);
  await storage.transaction(
    (tx) => sql`insert into notes (id, n, body) with recursive c(i) as (select 0 union all select i + 1 from c where i + 1 < ${rows}) select 'n' || i, i, ${body} from c`.execute(tx.db),
    { timeoutMs: 60_000 },
  );
}

const all = (storage: Storage<Tables>) => storage.db.selectFrom('notes').select(['id', 'n']).orderBy('n');

async function collect<Row>(batches: AsyncIterable<Row[]>): Promise<Row[][]> {
  const found: Row[][] = [];
  for await (const batch of batches) found.push(batch);
  return found;
}

onEachStorage('scan', ({ open }) => {
  test('gives every row once, in order, in batches of the size asked for at most', async (t) => {
    const storage = await open(t);
    await fill(storage, 1_050);
    const batches = await collect(storage.scan(all(storage), { batchRows: 100 }));
    assert.ok(batches.length <= 12 && batches.every((batch) => batch.length <= 100), `${batches.map((batch) => batch.length)}`);
    assert.deepEqual(batches.flat()[1_049], { id: 'n1049', n: 1_049 });
    assert.deepEqual(batches.flat().map((row) => row.n), Array.from({ length: 1_050 }, (_, i) => i));
  });

  test('of nothing is nothing', async (t) => {
    const storage = await open(t);
    assert.deepEqual(await collect(storage.scan(all(storage))), []);
  });

  test('binds parameters and carries every kind of value', async (t) => {
    const storage = await open(t);
    const row = { id: 'a', body: '\u{1f600}', n: 5, r: 0.5, bytes: Uint8Array.of(1, 2) };
    await storage.transaction((tx) => tx.db.insertInto('notes').values([row, { ...row, id: 'b', body: null }]).execute());
    const [found] = (await collect(storage.scan(storage.db.selectFrom('notes').selectAll().where('body', '=', row.body)))).flat();
    assert.deepEqual({ ...found, bytes: new Uint8Array(found!.bytes!) }, row);
  });

  test('is one snapshot, whatever is written meanwhile', async (t) => {
    const storage = await open(t);
    await fill(storage, 1_000);
    let seen = 0;
    for await (const batch of storage.scan(all(storage), { batchRows: 100 })) {
      seen += batch.length;
      await storage.transaction(async (tx) => {
        await tx.db.insertInto('notes').values({ id: `new${seen}`, body: null, n: 10_000 + seen, r: null, bytes: null }).execute();
        await tx.db.deleteFrom('notes').where('n', '=', 1_000 - seen / 25).execute();
      });
    }
    assert.equal(seen, 1_000);
    assert.equal((await collect(storage.scan(all(storage)))).flat().length, 1_000);
  });

  test('sees what was committed before it began', async (t) => {
    const storage = await open(t);
    for (let i = 1; i <= 20; i++) {
      await storage.transaction((tx) => tx.db.insertInto('notes').values({ id: `${i}`, body: null, n: i, r: null, bytes: null }).execute());
      assert.equal((await collect(storage.scan(all(storage)))).flat().length, i);
    }
  });

  test('a consumer that stops early frees the reader', async (t) => {
    const storage = await open(t);
    await fill(storage, 2_000);
    for (let i = 0; i < 100; i++) {
      for await (const batch of storage.scan(all(storage), { batchRows: 10 })) {
        assert.equal(batch.length, 10);
        break;
      }
    }
    await storage.transaction((tx) => tx.db.deleteFrom('notes').execute());
    assert.deepEqual(await collect(storage.scan(all(storage))), []);
  });

  test('one that is never read costs nothing', async (t) => {
    const storage = await open(t);
    for (let i = 0; i < 1_000; i++) storage.scan(all(storage));
  });

  test('ends at the abort signal: before, and in the middle', async (t) => {
    const storage = await open(t);
    await fill(storage, 5_000);
    await rejectsWith('cancelled', collect(storage.scan(all(storage), { signal: AbortSignal.abort() })));
    const controller = new AbortController();
    let batches = 0;
    const reading = (async () => {
      for await (const _ of storage.scan(all(storage), { batchRows: 10, signal: controller.signal })) if (++batches === 3) controller.abort();
    })();
    await rejectsWith('cancelled', reading);
    assert.ok(batches <= 4, `${batches} batches`);
  });

  test('a wrong query is a fault of the first read', async (t) => {
    const storage = await open(t);
    await rejectsWith('internal', collect(storage.scan(storage.db.selectFrom('nowhere' as 'notes').selectAll())));
  });

  test('cannot write', async (t) => {
    const storage = await open(t);
    await rejectsWith('internal', collect(storage.scan(storage.db.insertInto('counters').values({ id: 'a', n: 1 }).returningAll())), 'write_outside_transaction');
    assert.deepEqual(await storage.db.selectFrom('counters').selectAll().execute(), []);
  });

  test('several at once, with writers among them', async (t) => {
    const storage = await open(t);
    await fill(storage, 3_000);
    const scans = Array.from({ length: 5 }, () => collect(storage.scan(all(storage), { batchRows: 250 })));
    const writes = Array.from({ length: 50 }, (_, i) => storage.transaction((tx) => tx.db.insertInto('counters').values({ id: `w${i}`, n: i }).execute()));
    for (const batches of await Promise.all(scans)) assert.equal(batches.flat().length, 3_000);
    await Promise.all(writes);
  });

  test('stopping the storage ends it', async (t) => {
    const storage = await open(t);
    await fill(storage, 5_000);
    const reading = (async () => {
      for await (const _ of storage.scan(all(storage), { batchRows: 10 })) await storage.stop(1_000);
    })();
    await rejectsWith('unavailable', reading);
  });

  test('200,000 rows without holding up the event loop', async (t) => {
    const storage = await open(t);
    await fill(storage, 200_000);
    const longest = longestTurn(t);
    let rows = 0;
    for await (const batch of storage.scan(storage.db.selectFrom('notes').selectAll().orderBy('body'))) rows += batch.length;
    assert.equal(rows, 200_000);
    assert.ok(longest.ms() < 50, `the event loop waited ${longest.ms()} ms`);
  });

  test('large rows come few at a time, also where small ones came before', async (t) => {
    const storage = await open(t);
    const body = 'x'.repeat(60_000);
    await fill(storage, 550);
    await storage.transaction((tx) => tx.db.insertInto('notes').values(Array.from({ length: 30 }, (_, i) => ({ id: `z${i}`, body, n: 1_000 + i, r: null, bytes: null }))).execute());
    const snapshot = await storage.snapshot();
    const notes = snapshot.tables.find(({ name }) => name === 'notes')!;
    for (const batches of [await collect(storage.scan(storage.db.selectFrom('notes').select(['id', 'body']).orderBy('n'))), await collect(snapshot.rows(notes, { byKey: true }))]) {
      const sizes = batches.map((batch) => batch.reduce((sum, row) => sum + String(row['body']).length, 0));
      assert.deepEqual([sizes.reduce((a, b) => a + b), sizes.every((size) => size <= 600_000)], [550 * 100 + 30 * body.length, true], `${sizes}`);
    }
    await snapshot.close();
  });

  test('what has been read is not kept', async (t) => {
    const storage = await open(t);
    await fill(storage, 60_000);
    const query = storage.db.selectFrom('notes').selectAll();
    const snapshot = await storage.snapshot();
    const reads: Record<string, () => AsyncIterable<unknown[]>> = { scan: () => storage.scan(query), snapshot: () => snapshot.rows(snapshot.tables.find(({ name }) => name === 'notes')!) };
    for (const [what, read] of Object.entries(reads)) {
      const before = await heldMb();
      let [rows, held] = [0, 0];
      for await (const batch of read()) if ((rows += batch.length) === 60_000) held = (await heldMb()) - before;
      assert.equal(rows, 60_000);
      assert.ok(held < 6, `${what}: ${held} MB are held at the end of 60,000 rows`);
    }
    await snapshot.close();
  });
});
