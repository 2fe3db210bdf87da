import 'reflect-metadata';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import { parts } from '../../../src/app/parts.ts';
import { fabricMigrations } from '../../../src/fabric/tables.ts';
import type { Migration, Storage, TableShape } from '../../../src/ports/storage.ts';
import { rejectsWith } from '../../support/faults.ts';
import { onEachStorage } from '../../support/storages.ts';

const first: Migration = { name: '0001-first', up: async (db) => void (await db.schema.createTable('one').addColumn('id', 'text').execute()) };
const second: Migration = { name: '0002-second', up: async (db) => void (await db.schema.alterTable('one').addColumn('more', 'text').execute()) };

/** By name: a column that a later version has added stands at the end. */
async function tablesOf(storage: Storage): Promise<TableShape[]> {
  const snapshot = await storage.snapshot();
  await snapshot.close();
  return snapshot.tables.map((table) => ({ ...table, columns: table.columns.toSorted() })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

onEachStorage('migrations', ({ create: make, place, open }) => {
  // Other tables than the suite's.
  const create = (...given: Parameters<typeof make>): Storage => make(...given);

  test('runs what is missing, in order, once', async (t) => {
    const where = place(t);
    const seen: string[] = [];
    const noting = (migration: Migration): Migration => ({ name: migration.name, up: async (db) => (seen.push(migration.name), migration.up(db)) });
    const storage = create(t, where);
    await storage.start();
    await storage.migrate([noting(first)]);
    await storage.migrate([noting(first), noting(second)]);
    await storage.stop(1_000);
    const again = create(t, where);
    await again.start();
    await again.migrate([noting(first), noting(second)]);
    assert.deepEqual(seen, ['0001-first', '0002-second']);
    assert.deepEqual(await again.db.selectFrom('one').select(['id', 'more']).execute(), []);
  });

  test('one that fails leaves nothing behind, and those before it stay', async (t) => {
    const storage = create(t, place(t));
    await storage.start();
    const broken: Migration = {
      name: '0002-broken',
      up: async (db) => {
        await db.schema.createTable('half').addColumn('id', 'text').execute();
        throw new Error('broken');
      },
    };
    await assert.rejects(storage.migrate([first, broken]), /broken/);
    await rejectsWith('internal', storage.db.selectFrom('half').selectAll().execute());
    await storage.migrate([first, second]);
    assert.deepEqual(await storage.db.selectFrom('one').selectAll().execute(), []);
  });

  test('a database of a newer build is refused by name, untouched', async (t) => {
    const storage = create(t, place(t));
    await storage.start();
    await storage.migrate([first, second]);
    const fault = await rejectsWith('unavailable', storage.migrate([first, { name: '0003-mine', up: async () => assert.fail('must not run') }]), 'newer_database');
    assert.deepEqual(fault.details.unknown, ['0002-second']);
  });

  test('a statement built before a column came sees it afterwards', async (t) => {
    const storage = create(t, place(t));
    await storage.start();
    await storage.migrate([first]);
    await storage.transaction((tx) => tx.db.insertInto('one').values({ id: 'a' }).execute());
    assert.deepEqual(await storage.db.selectFrom('one').selectAll().execute(), [{ id: 'a' }]);
    await storage.migrate([first, second]);
    assert.deepEqual(await storage.db.selectFrom('one').selectAll().execute(), [{ id: 'a', more: null }]);
  });

  test('two of the same name are a mistake', async (t) => {
    const storage = create(t, place(t));
    await storage.start();
    await assert.rejects(storage.migrate([first, first]), TypeError);
  });

  test('constraints that are checked at commit are refused', async (t) => {
    const storage = await open(t);
    const deferred: Migration = { name: '0002-deferred', up: async (db) => void (await sql`create table late (person text references people(id) deferrable initially deferred)`.execute(db)) };
    await rejectsWith('internal', storage.migrate([{ name: '0001-suite', up: async () => {} }, deferred]), 'deferred_constraint');
  });

  for (const { name, migrations } of parts.modules) {
    test(`${name} comes up from each version to what a new database has`, async (t) => {
      const all = [...fabricMigrations, ...migrations];
      const [old, fresh] = [create(t, place(t)), create(t, place(t))];
      await Promise.all([old.start(), fresh.start()]);
      for (let version = 1; version <= all.length; version++) await old.migrate(all.slice(0, version));
      await fresh.migrate(all);
      assert.deepEqual(await tablesOf(old), await tablesOf(fresh));
      assert.deepEqual((await old.contents.indexes()).map((index) => index.name).sort(), (await fresh.contents.indexes()).map((index) => index.name).sort());
    });
  }
});
