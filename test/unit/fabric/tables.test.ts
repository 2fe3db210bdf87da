import assert from 'node:assert/strict';
import { describe, it, type TestContext as Test } from 'node:test';
import { fabricMigrations, type FabricTables } from '../../../src/fabric/tables.ts';
import type { Migration, Storage } from '../../../src/ports/storage.ts';
import { sqliteAt } from '../../support/buses.ts';
import { testContext, type TestContext } from '../../support/context.ts';

const [outboxAndInbox, refused] = fabricMigrations as readonly [Migration, Migration];
const message = (id: string) => ({ id, kind: 'job', name: 'reader.mail', workspace: 'w1', message_key: null, lane: 'bulk', time: 1, trace_id: 't', span_id: 's', not_before: 2, payload: `{"of":"${id}"}` }) as const;
const handled = { queue: 'reader.mail', id: 'h1', time: 3 };

async function opened(t: Test, place: TestContext): Promise<Storage<FabricTables>> {
  const storage = sqliteAt(place)('module');
  t.after(() => storage.stop(1_000));
  await storage.start();
  return storage;
}

/** A data directory as a build with these migrations left it: two messages on their way, one handled. */
async function leftBy(t: Test, migrations: readonly Migration[]): Promise<TestContext> {
  const place = testContext();
  t.after(() => place.remove());
  const storage = await opened(t, place);
  await storage.migrate(migrations);
  await storage.transaction(async (tx) => {
    await tx.db.insertInto('fabric_outbox').values([message('m1'), message('m2')]).execute();
    await tx.db.insertInto('fabric_inbox').values(handled).execute();
  });
  await storage.stop(1_000);
  return place;
}

describe('a data directory of a build that kept no refused messages', () => {
  it('keeps what is in its outbox and inbox, and gets a table that takes every message of the outbox', async (t) => {
    const storage = await opened(t, await leftBy(t, [outboxAndInbox]));
    await storage.migrate(fabricMigrations);
    assert.deepEqual(await storage.db.selectFrom('fabric_outbox').selectAll().orderBy('seq').execute(), [{ seq: 1, ...message('m1') }, { seq: 2, ...message('m2') }]);
    assert.deepEqual(await storage.db.selectFrom('fabric_inbox').selectAll().execute(), [handled]);
    await storage.transaction((tx) => tx.db.insertInto('fabric_refused').values([message('m3'), { ...message('m4'), workspace: null, not_before: null, message_key: 'k' }]).execute());
    assert.deepEqual(await storage.db.selectFrom('fabric_refused').selectAll().orderBy('id').execute(), [message('m3'), { ...message('m4'), workspace: null, not_before: null, message_key: 'k' }]);
    await storage.transaction((tx) => tx.db.insertInto('fabric_outbox').values(message('m5')).execute());
    assert.deepEqual(await storage.db.selectFrom('fabric_outbox').select('seq').where('id', '=', 'm5').execute(), [{ seq: 3 }]);
  });

  it('may have got that table with the first migration, and then keeps what is in it', async (t) => {
    const both: Migration = {
      name: outboxAndInbox.name,
      async up(db) {
        await outboxAndInbox.up(db);
        await refused.up(db);
      },
    };
    const place = await leftBy(t, [both]);
    const before = await opened(t, place);
    await before.transaction((tx) => tx.db.insertInto('fabric_refused').values(message('m3')).execute());
    await before.stop(1_000);
    const storage = await opened(t, place);
    await storage.migrate(fabricMigrations);
    assert.deepEqual(await storage.db.selectFrom('fabric_refused').selectAll().execute(), [message('m3')]);
  });
});
