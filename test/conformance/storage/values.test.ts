import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { sql } from 'kysely';
import { statement } from '../../../src/ports/storage.ts';
import { rejectsWith } from '../../support/faults.ts';
import { onEachStorage, type Tables } from '../../support/storages.ts';

const insert = statement<Tables, Tables['notes']>()((db, p) => db.insertInto('notes').values({ id: p('id'), body: p('body'), n: p('n'), r: p('r'), bytes: p('bytes') }));
const byId = statement<Tables, { id: string }>()((db, p) => db.selectFrom('notes').selectAll().where('id', '=', p('id')));
const blank = { body: null, n: null, r: null, bytes: null };

onEachStorage('values', ({ open }) => {
  test('every kind of value comes back as it went in', async (t) => {
    const storage = await open(t);
    const rows: Tables['notes'][] = [
      { id: 'empty', body: '', n: 0, r: 0, bytes: new Uint8Array() },
      { id: 'null', ...blank },
      { id: 'largest', body: 'x', n: Number.MAX_SAFE_INTEGER, r: 1.7976931348623157e308 > 0 ? 0.1 : 0, bytes: Uint8Array.of(0, 255, 1) },
      { id: 'smallest', body: '5', n: Number.MIN_SAFE_INTEGER, r: -2.5e-7, bytes: new Uint8Array(70_000).fill(7) },
      { id: 'time', ...blank, n: Date.UTC(2026, 10, 21) },
    ];
    await storage.transaction(async (tx) => {
      for (const row of rows) await tx.run(insert, row);
    });
    for (const row of rows) {
      const [found] = await storage.run(byId, { id: row.id });
      assert.deepEqual({ ...found, bytes: found!.bytes && new Uint8Array(found!.bytes) }, row);
      assert.equal(typeof found!.n, row.n === null ? 'object' : 'number');
    }
  });

  test('rows are plain objects', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(insert, { id: 'a', ...blank }));
    const [row] = await storage.run(byId, { id: 'a' });
    assert.equal(Object.getPrototypeOf(row), Object.prototype);
    assert.equal(Object.getPrototypeOf(await storage.db.selectFrom('notes').selectAll().executeTakeFirst()), Object.prototype);
  });

  test('whole numbers stay whole wherever they are bound', async (t) => {
    const storage = await open(t);
    const { rows } = await sql<{ text: string; half: number }>`select cast(${5} as text) as text, ${5} / 2 as half`.execute(storage.db);
    assert.deepEqual(rows, [{ text: '5', half: 2 }]);
  });

  test('yes and no are 1 and 0', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(insert, { id: 'yes', ...blank, n: true as unknown as number }));
    await storage.transaction((tx) => tx.run(insert, { id: 'no', ...blank, n: false as unknown as number }));
    assert.deepEqual([(await storage.run(byId, { id: 'yes' }))[0]!.n, (await storage.run(byId, { id: 'no' }))[0]!.n], [1, 0]);
  });

  test('text of every plane of Unicode, as a value and as a key', async (t) => {
    const storage = await open(t);
    const planes = Array.from({ length: 17 }, (_, plane) => String.fromCodePoint(plane * 0x10000 + 0x41, plane * 0x10000 + 0xfffd));
    const texts = [...planes, 'é', 'e\u0301', '\u202e\ufeff\u200d', '\u0001\u001f\u007f\u0085', "'; drop table notes; --", '%_\\"`[]'];
    await storage.transaction(async (tx) => {
      for (const text of texts) await tx.run(insert, { id: `k${text}`, ...blank, body: text });
    });
    for (const text of texts) assert.equal((await storage.run(byId, { id: `k${text}` }))[0]?.body, text);
  });

  test('any well-formed text without U+0000 survives', async (t) => {
    const storage = await open(t);
    let i = 0;
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => text.isWellFormed() && !text.includes('\0')), async (text) => {
        const id = `p${i++}`;
        await storage.transaction((tx) => tx.run(insert, { id, ...blank, body: text }));
        assert.equal((await storage.run(byId, { id }))[0]!.body, text);
      }),
      { numRuns: 200 },
    );
  });

  test('JSON text comes back byte for byte', async (t) => {
    const storage = await open(t);
    await fc.assert(
      fc.asyncProperty(fc.uuid(), fc.jsonValue(), async (id, value) => {
        const body = JSON.stringify({ value, nul: '\0', lone: '\ud800' });
        await storage.transaction((tx) => tx.run(insert, { id, ...blank, body }));
        assert.equal((await storage.run(byId, { id }))[0]!.body, body);
      }),
      { numRuns: 100 },
    );
  });

  test('text that no portable database holds is refused', async (t) => {
    const storage = await open(t);
    for (const body of ['a\0b', '\ud800', 'x\udc00y', '\udc00\ud800']) {
      await rejectsWith('invalid', storage.transaction((tx) => tx.run(insert, { id: 'bad', ...blank, body })), 'unstorable_text');
      await rejectsWith('invalid', storage.db.selectFrom('notes').selectAll().where('body', '=', body).execute(), 'unstorable_text');
    }
    assert.deepEqual(await storage.run(byId, { id: 'bad' }), []);
  });

  test('values that would change on the way are refused', async (t) => {
    const storage = await open(t);
    for (const wrong of [undefined, NaN, Infinity, 2 ** 53, 2n ** 53n, new Date(), {}, [1], Symbol('s')]) {
      await rejectsWith('internal', storage.transaction((tx) => tx.run(insert, { id: 'bad', ...blank, n: wrong as number })), 'unstorable_value');
      await rejectsWith('internal', storage.transaction((tx) => tx.db.insertInto('notes').values({ id: 'bad', ...blank, n: sql.val(wrong as number) }).execute()), 'unstorable_value');
    }
    assert.deepEqual(await storage.run(byId, { id: 'bad' }), []);
  });

  test('a fault about a value names it', async (t) => {
    const storage = await open(t);
    const fault = await rejectsWith('internal', storage.transaction((tx) => tx.run(insert, { id: 'bad', body: null, n: null, r: null } as Tables['notes'])));
    assert.match(fault.message, /bytes/);
  });

  test('a number beyond 2^53 in the database is a fault, not a wrong number', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.db.insertInto('notes').values({ id: 'big', ...blank, n: sql<number>`9007199254740993` }).execute());
    await rejectsWith('internal', storage.run(byId, { id: 'big' }), 'unsafe_integer');
  });

  test('rows of 8 MB', async (t) => {
    const storage = await open(t);
    const body = 'äx'.repeat(4 * 1_048_576);
    const bytes = new Uint8Array(8 * 1_048_576).fill(3);
    await storage.transaction((tx) => tx.run(insert, { id: 'large', ...blank, body, bytes }));
    const [row] = await storage.run(byId, { id: 'large' });
    assert.ok(row!.body === body && Buffer.compare(row!.bytes!, bytes) === 0);
  });

  test('a statement takes constants, the same parameter twice, and answers with rows only where there are some', async (t) => {
    const storage = await open(t);
    const twice = statement<Tables, { n: number }>()((db, p) =>
      db.insertInto('notes').values({ id: 'constant', body: 'fixed', n: p('n'), r: p('n'), bytes: null }).returning(['n', 'r']));
    const plain = statement<Tables, { id: string }>()((db, p) => db.deleteFrom('notes').where('id', '=', p('id')));
    assert.deepEqual(await storage.transaction((tx) => tx.run(twice, { n: 4 })), [{ n: 4, r: 4 }]);
    assert.equal((await storage.run(byId, { id: 'constant' }))[0]!.body, 'fixed');
    assert.deepEqual(await storage.transaction((tx) => tx.run(plain, { id: 'constant' })), []);
    assert.deepEqual(await storage.run(byId, { id: 'constant' }), []);
  });

  test('the query builder tells how many rows it changed', async (t) => {
    const storage = await open(t);
    const [inserted, updated, deleted] = await storage.transaction(async (tx) => [
      await tx.db.insertInto('counters').values([{ id: 'a', n: 1 }, { id: 'b', n: 1 }]).executeTakeFirst(),
      await tx.db.updateTable('counters').set({ n: 2 }).executeTakeFirst(),
      await tx.db.deleteFrom('counters').where('id', '=', 'a').executeTakeFirst(),
    ] as const);
    assert.deepEqual([inserted.numInsertedOrUpdatedRows, updated.numUpdatedRows, deleted.numDeletedRows], [2n, 2n, 1n]);
  });
});
