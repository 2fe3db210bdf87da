import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, test, type TestContext } from 'node:test';
import { type Kysely, sql } from 'kysely';
import { compareContents } from '../../../src/fabric/storage-compare.ts';
import { clear, copyContents, dropIndexes, isEmpty, type TableProgress } from '../../../src/fabric/storage-copy.ts';
import { contentTables } from '../../../src/fabric/storage-tables.ts';
import type { Migration, Storage } from '../../../src/ports/storage.ts';
import { rejectsWith } from '../../support/faults.ts';
import { PostgresServer } from '../../support/postgres.ts';
import { type StorageDriverName, underTest } from '../../support/storages.ts';

const MIGRATION: Migration = {
  name: '0001-moving',
  async up(db) {
    await db.schema.createTable('values').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('body', 'text').addColumn('n', 'bigint').addColumn('r', 'real').addColumn('bytes', 'blob').execute();
    await db.schema.createTable('z_parents').addColumn('workspace', 'text', (c) => c.notNull()).addColumn('n', 'integer', (c) => c.notNull()).addColumn('name', 'text').addPrimaryKeyConstraint('z_parents_pk', ['workspace', 'n']).modifyEnd(sql`without rowid`).execute();
    await db.schema
      .createTable('children')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace', 'text')
      .addColumn('n', 'integer')
      .addColumn('email', 'text', (c) => c.unique())
      .addForeignKeyConstraint('children_parent', ['workspace', 'n'], 'z_parents', ['workspace', 'n'])
      .execute();
    await db.schema.createTable('counted').addColumn('seq', 'integer', (c) => c.primaryKey().autoIncrement()).addColumn('body', 'text').execute();
    await db.schema.createTable('keyless').addColumn('body', 'text').execute();
    await db.schema.createIndex('values_n').on('values').columns(['n', 'id']).where('n', 'is not', null).execute();
    await db.schema.createIndex('children_n').unique().on('children').columns(['n', 'id']).execute();
    await db.insertInto('keyless').values({ body: 'of the migration' }).execute();
  },
};

const ODD = ['', 'plain', '"quoted", \\ and {braces}', 'NULL', "it's\n\ttabbed\r", '\u{1f600} 日本 \u{10ffff}', '\ufffd', 'a,b', '\u0001'];
const NUMBERS = [0, 1, -1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, null];
const REALS = [0.1, -0.5, 123456789.125, 5e-324, 1.7e-300, 3, null];
/** More than one transaction of a copy takes. */
const PARENTS = 6_500;

async function fill(db: Kysely<any>): Promise<void> {
  await db.deleteFrom('keyless').execute();
  await db.insertInto('values').values(ODD.flatMap((body, i) => NUMBERS.map((n, j) => ({ id: `${body}/${i}/${j}`, body: j === 5 ? null : body, n, r: REALS[(i + j) % REALS.length], bytes: [null, new Uint8Array(), Uint8Array.of(0, 255, 92, 34, i)][j % 3] })))).execute();
  for (let n = 0; n < PARENTS; n += 500) await db.insertInto('z_parents').values(Array.from({ length: 500 }, (_, i) => ({ workspace: `w${i % 3}\u{1f600}`, n: n + i, name: 'Ana' }))).execute();
  await db.insertInto('children').values(Array.from({ length: 100 }, (_, n) => ({ id: `c${n}`, workspace: n === 7 ? null : `w${n % 3}\u{1f600}`, n, email: `ana.${n}@example.com` }))).execute();
  await db.insertInto('counted').values([{ body: 'a' }, { body: 'b' }, { body: 'c' }]).execute();
  await db.deleteFrom('counted').where('body', '!=', 'b').execute();
  await db.insertInto('keyless').values([{ body: 'twice' }, { body: 'twice' }, { body: null }]).execute();
}

const silent = (): void => {};
const names = (storage: Storage) => contentTables(storage).then((tables) => tables.map(({ name }) => name).sort());

const server = new PostgresServer();
before(() => server.start());
after(() => server.remove());

for (const [source, target] of [['sqlite', 'postgres'], ['postgres', 'sqlite']] as const) {
  describe(`contents from ${source} to ${target}`, () => {
    async function open(t: TestContext, driver: StorageDriverName): Promise<Storage> {
      const under = underTest(driver, driver === 'postgres' ? server : undefined);
      const storage: Storage = under.create(t, under.place(t));
      await storage.start();
      await storage.migrate([MIGRATION]);
      return storage;
    }
    async function both(t: TestContext): Promise<[from: Storage, to: Storage]> {
      const [from, to] = [await open(t, source), await open(t, target)];
      await from.transaction((tx) => fill(tx.db));
      await clear(to);
      return [from, to];
    }

    test('every value arrives, with the numbers that tables have given out, and the sums say so', async (t) => {
      const [from, to] = await both(t);
      assert.deepEqual([await isEmpty(from), await isEmpty(to)], [false, true]);
      const told: TableProgress[] = [];
      const indexes = await to.contents.indexes();
      assert.deepEqual(indexes.map(({ name }) => name), ['children_n', 'values_n']);
      await dropIndexes(to, indexes);
      assert.deepEqual(await to.contents.indexes(), []);
      await copyContents(from, to, (progress) => told.push(progress));
      for (const index of [...indexes, ...indexes]) await to.contents.makeIndex(index);
      assert.deepEqual(await to.contents.indexes(), indexes);
      assert.ok(told.filter(({ table }) => table === 'z_parents').length > 2 && told.at(-1)!.rows === told.at(-1)!.of, JSON.stringify(told));

      const compared = await compareContents(from, to, silent);
      assert.ok(compared.every(({ isSame }) => isSame), JSON.stringify(compared));
      assert.deepEqual(compared.map(({ table, from: { rows } }) => `${table} ${rows}`).sort(), ['children 100', 'counted 1', 'keyless 3', `values ${ODD.length * NUMBERS.length}`, `z_parents ${PARENTS}`]);
      const rows = (storage: Storage) => storage.db.selectFrom('values').selectAll().orderBy('id').execute();
      const plain = (all: { bytes: Uint8Array | null }[]) => all.map((row) => ({ ...row, bytes: row.bytes && [...row.bytes] }));
      assert.deepEqual(plain((await rows(to)) as any), plain((await rows(from)) as any));
      const next = await to.transaction((tx) => tx.db.insertInto('counted').values({ body: 'next' }).returning('seq').executeTakeFirstOrThrow());
      assert.deepEqual(next, { seq: 4 });
    });

    test('a copy that was cut short goes on behind the last row, and ends with the same', async (t) => {
      const [from, to] = await both(t);
      await assert.rejects(copyContents(from, to, ({ table, rows }) => {
        if (table === 'z_parents' && rows > 0) throw new Error('cut');
      }), /cut/);
      await copyContents(from, to, silent);
      await copyContents(from, to, silent);
      assert.ok((await compareContents(from, to, silent)).every(({ isSame }) => isSame));
    });

    test('rows that differ are named by their keys, without what may be personal in them', async (t) => {
      const [from, to] = await both(t);
      await copyContents(from, to, silent);
      await to.transaction(async ({ db }) => {
        await db.updateTable('z_parents').set({ name: 'Ben' }).where('n', '=', 41).execute();
        await db.deleteFrom('values').where('id', '=', 'a,b/7/0').execute();
        await db.insertInto('children').values({ id: '01234567-89ab-7def-8123-456789abcdef', n: -1 }).execute();
        await db.insertInto('keyless').values({ body: 'thrice' }).execute();
        await db.insertInto('counted').values({ body: 'x' }).execute();
        await db.deleteFrom('counted').where('body', '=', 'x').execute();
      });
      const found = (await compareContents(from, to, silent)).filter(({ isSame }) => !isSame).map(({ table, differences }) => [table, differences] as const);
      const masked = (text: string) => `sha256:${hash('sha256', text).slice(0, 16)}`;
      assert.deepEqual(Object.fromEntries(found), {
        z_parents: [{ key: `workspace=${masked('w2\u{1f600}')}, n=41`, what: 'differs' }],
        values: [{ key: `id=${masked('a,b/7/0')}`, what: 'missing' }],
        children: [{ key: 'id=01234567-89ab-7def-8123-456789abcdef', what: 'added' }],
        keyless: [],
        counted: [],
      });
    });

    test('a target with other tables, or with rows of its own, is refused', async (t) => {
      const [from, to] = await both(t);
      await to.transaction((tx) => tx.db.insertInto('children').values({ id: 'a', email: 'ana.99@example.com' }).execute());
      await rejectsWith('conflict', copyContents(from, to, silent), 'target_changed');
      await to.transaction((tx) => tx.db.schema.alterTable('keyless').addColumn('more', 'text').execute());
      await rejectsWith('conflict', copyContents(from, to, silent), 'schema_differs');
      assert.deepEqual(await names(from), await names(to));
    });
  });
}

test('what a storage says of its place, its size and who else is connected', async (t) => {
  const under = underTest('postgres', server);
  const place = under.place(t);
  const [one, other] = [under.create(t, place), under.create(t, place)];
  assert.equal(one.contents.place, other.contents.place);
  assert.match(one.contents.place, new RegExp(`^postgres, 127\\.0\\.0\\.1:${server.port}/postgres, schema s[0-9a-f]{40}$`));
  await one.start();
  await one.migrate([MIGRATION]);
  assert.deepEqual([await one.contents.othersConnected(), await one.contents.freeBytes()], [0, null]);
  await other.start();
  assert.ok((await one.contents.othersConnected()) > 0);
  assert.ok((await one.contents.bytes()) > 50_000);

  const embedded = await underTest('sqlite').open(t);
  assert.equal(embedded.contents.place, 'sqlite, suite.sqlite');
  assert.ok((await embedded.contents.bytes()) > 4_096 && (await embedded.contents.freeBytes())! > 1_000_000);
});
