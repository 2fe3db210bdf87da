import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import { type Storage, statement } from '../../../src/ports/storage.ts';
import { rejectsWith } from '../../support/faults.ts';
import { onEachStorage, type Tables } from '../../support/storages.ts';

const count = statement<Tables, Tables['counters']>()((db, p) => db.insertInto('counters').values({ id: p('id'), n: p('n') }));

async function withPerson(storage: Storage<Tables>): Promise<void> {
  await storage.transaction((tx) => tx.db.insertInto('people').values({ id: 'p', workspace: 'w', email: 'a@example.com' }).execute());
}

onEachStorage('conflicts', ({ open }) => {
  test('unique: the constraint by its table and columns', async (t) => {
    const storage = await open(t);
    await withPerson(storage);
    const same = storage.transaction((tx) => tx.db.insertInto('people').values({ id: 'q', workspace: 'w', email: 'a@example.com' }).execute());
    assert.deepEqual((await rejectsWith('conflict', same, 'unique')).details, { constraint: 'people.workspace,email' });
    const key = storage.transaction((tx) => tx.db.insertInto('people').values({ id: 'p', workspace: 'v', email: 'a@example.com' }).execute());
    assert.deepEqual((await rejectsWith('conflict', key, 'unique')).details, { constraint: 'people.id' });
  });

  test('two at once with the same key: one is there, the other is told', async (t) => {
    const storage = await open(t);
    const insert = (id: string) => storage.transaction((tx) => tx.db.insertInto('people').values({ id, workspace: 'w', email: 'same@example.com' }).execute());
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => insert(`p${i}`)));
    assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1);
    for (const outcome of outcomes) if (outcome.status === 'rejected') assert.deepEqual([outcome.reason.code, outcome.reason.reason], ['conflict', 'unique']);
    assert.equal((await storage.db.selectFrom('people').selectAll().execute()).length, 1);
  });

  test('a write that was refused is told, whatever its transaction does after it', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(count, { id: 'a', n: 1 }));
    const afterIt: Record<string, () => unknown> = { nothing: () => {}, 'a throw of its own': () => { throw new Error('something else'); } };
    for (const [what, then] of Object.entries(afterIt)) {
      const refused = storage.transaction(async (tx) => {
        await tx.run(count, { id: what, n: 1 });
        await tx.run(count, { id: 'a', n: 2 });
        return then();
      });
      await rejectsWith('conflict', refused, 'unique');
    }
    const many = Array.from({ length: 300 }, (_, i) => `many ${i}`);
    await rejectsWith('conflict', storage.transaction(async (tx) => {
      for (const id of [...many, 'a', 'last']) await tx.run(count, { id, n: 1 });
    }), 'unique');
    await storage.transaction(async (tx) => {
      for (const id of many) await tx.run(count, { id, n: 1 });
    });
    const rows = await storage.db.selectFrom('counters').select('id').execute();
    assert.deepEqual(rows.map(({ id }) => id).sort(), [...many, 'a'].sort());
  });

  test('foreign key, not null, check', async (t) => {
    const storage = await open(t);
    await withPerson(storage);
    const order = (values: Tables['orders']) => storage.transaction((tx) => tx.db.insertInto('orders').values(values).execute());
    await rejectsWith('conflict', order({ id: 'o', person: 'nobody', amount: 1 }), 'foreign_key');
    const missing = await rejectsWith('conflict', order({ id: 'o', person: 'p', amount: null as unknown as number }), 'not_null');
    assert.deepEqual(missing.details, { constraint: 'orders.amount' });
    const negative = await rejectsWith('conflict', order({ id: 'o', person: 'p', amount: -1 }), 'check');
    assert.deepEqual(negative.details, { constraint: 'orders_amount' });
    await order({ id: 'o', person: 'p', amount: 1 });
    await rejectsWith('conflict', storage.transaction((tx) => tx.db.deleteFrom('people').execute()), 'foreign_key');
  });

  test('a fault carries nothing of the rows or the statement', async (t) => {
    const storage = await open(t);
    await withPerson(storage);
    const same = await rejectsWith('conflict', storage.transaction((tx) => tx.db.insertInto('people').values({ id: 'q', workspace: 'w', email: 'a@example.com' }).execute()));
    assert.doesNotMatch(JSON.stringify(same), /example\.com|insert/i);
    const wrong = await rejectsWith('internal', sql`select secret_column from people`.execute(storage.db));
    assert.doesNotMatch(JSON.stringify(wrong), /secret_column/);
  });

  test('statements that would end the common transaction are refused', async (t) => {
    const storage = await open(t);
    for (const text of ['COMMIT', ' rollback', 'begin', 'Savepoint x', 'release x', 'end', 'pragma foreign_keys = off', 'attach \'x\' as y', 'vacuum']) {
      await storage.transaction(async (tx) => {
        await rejectsWith('internal', sql.raw(text).execute(tx.db), 'reserved_statement');
        await tx.db.insertInto('counters').values({ id: text, n: 1 }).execute();
      });
    }
    assert.equal((await storage.db.selectFrom('counters').selectAll().execute()).length, 9);
  });
});
