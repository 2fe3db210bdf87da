import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sql } from 'kysely';
import { storageDrivers } from '../../../../../adapters/storage/catalog.ts';
import type { Storage } from '../../../../../src/ports/storage.ts';
import { testContext } from '../../../../support/context.ts';

const { sqlite } = storageDrivers;

test('the log stays bounded under a constant stream of writes', async (t) => {
  const place = testContext();
  const storage: Storage<{ t: { id: number; body: string } }> = sqlite.create(sqlite.settings.parse({ checkpointKb: 512, durability: 'process-crash' }), { ...place, name: 'wal' });
  t.after(async () => {
    await storage.stop(1_000);
    place.remove();
  });
  await storage.start();
  await storage.migrate([{ name: '1', up: async (db) => void (await db.schema.createTable('t').addColumn('id', 'integer', (c) => c.primaryKey()).addColumn('body', 'text').execute()) }]);
  const body = 'x'.repeat(1_000);
  let next = 0;
  let longest = 0;
  const size = () => statSync(join(place.dataDir, 'wal.sqlite-wal')).size;
  const writer = async (): Promise<void> => {
    while (next < 40_000) {
      const id = next++;
      await storage.transaction((tx) => tx.db.insertInto('t').values({ id, body }).execute());
      longest = Math.max(longest, size());
    }
  };
  await Promise.all(Array.from({ length: 50 }, writer));
  // 40,000 rows are some 60 MB of log. Writers are held up at 2 MB, after the group that passes it.
  assert.ok(longest < 4 * 1_048_576, `${longest} bytes`);
  assert.equal((await storage.db.selectFrom('t').select((eb) => eb.fn.countAll<number>().as('n')).executeTakeFirst())!.n, 40_000);
});

test('a long read lets the log grow; it starts again when the read has ended', async (t) => {
  const place = testContext();
  const storage: Storage<{ t: { id: number; body: string } }> = sqlite.create(sqlite.settings.parse({ checkpointKb: 64, durability: 'process-crash' }), { ...place, name: 'wal' });
  t.after(async () => {
    await storage.stop(1_000);
    place.remove();
  });
  await storage.start();
  await storage.migrate([{ name: '1', up: async (db) => void (await db.schema.createTable('t').addColumn('id', 'integer', (c) => c.primaryKey()).addColumn('body', 'text').execute()) }]);
  let id = 0;
  const write = (rows: number) => Promise.all(Array.from({ length: rows }, () => storage.transaction((tx) => tx.db.insertInto('t').values({ id: id++, body: 'x'.repeat(1_000) }).execute())));
  await write(100);
  const size = () => statSync(join(place.dataDir, 'wal.sqlite-wal')).size;
  for await (const _ of storage.scan(storage.db.selectFrom('t').selectAll(), { batchRows: 1 })) {
    for (let i = 0; i < 20; i++) await write(100);
    break;
  }
  const grown = size();
  for (let i = 0; i < 60; i++) await write(100);
  assert.ok(grown > 1_048_576, `${grown} bytes`);
  // 60 more would have made it five times as long.
  assert.ok(size() < grown * 1.5, `${grown} bytes became ${size()}`);
});

test('a stop does not wait beyond its deadline for the log to be copied', async (t) => {
  const place = testContext();
  const storageOf = (name: string): Storage<{ t: { id: number; body: string } }> => sqlite.create(sqlite.settings.parse({ checkpointKb: 512, durability: 'process-crash' }), { ...place, name });
  const [busy, storage] = [storageOf('busy'), storageOf('wal')];
  t.after(async () => {
    await busy.stop(20_000);
    place.remove();
  });
  await busy.start();
  await storage.start();
  await storage.migrate([{ name: '1', up: async (db) => void (await db.schema.createTable('t').addColumn('id', 'integer', (c) => c.primaryKey()).addColumn('body', 'text').execute()) }]);
  await Promise.all(Array.from({ length: 300 }, (_, id) => storage.transaction((tx) => tx.db.insertInto('t').values({ id, body: 'x'.repeat(1_000) }).execute())));
  // The thread that copies is the one that reads long: it has no time for the log.
  let readEnded = false;
  const counted = sql<{ n: number }>`(with recursive c(n) as (select 1 union all select n + 1 from c where n < 30000000) select max(n) as n from c)`.as('counted');
  const read = (async () => {
    for await (const _ of busy.scan(busy.db.selectFrom(counted).selectAll())) break;
    readEnded = true;
  })();
  const startedAt = performance.now();
  await storage.stop(200);
  const took = performance.now() - startedAt;
  assert.ok(!readEnded, 'the read was too short to tell');
  assert.ok(took < 1_500, `${took} ms`);
  await read;
  const again = storageOf('wal');
  await again.start();
  t.after(() => again.stop(5_000));
  assert.equal((await again.db.selectFrom('t').select((eb) => eb.fn.countAll<number>().as('n')).executeTakeFirst())!.n, 300);
});
