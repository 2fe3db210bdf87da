import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeliveryLog } from '../../../modules/notification/deliveries/delivery-log.ts';
import type { StoredDelivery } from '../../../modules/notification/deliveries/delivery.ts';
import { migrations } from '../../../modules/notification/migrations.ts';
import { Suppressions } from '../../../modules/notification/suppressions/suppressions.ts';
import type { NotificationTables } from '../../../modules/notification/tables.ts';
import { OutboxStore } from '../../../src/fabric/outbox.ts';
import { fabricMigrations } from '../../../src/fabric/tables.ts';
import { newTrace } from '../../../src/kernel/call.ts';
import { noMetrics, testContext } from '../../support/context.ts';
import { rejectsWith } from '../../support/faults.ts';
import { moduleStorage } from '../../support/module-storage.ts';

const source = { kind: 'automation' as const, id: 'auto', version: 1, runId: 'run', eventId: 'event' };

function delivery(deliveryId: string, changes: Partial<StoredDelivery> = {}): StoredDelivery & { to: string } {
  const [to, times] = [`${deliveryId}@example.org`, { createdAt: 1, updatedAt: 1 }];
  const state = { state: 'pending' as const, reason: null, messageId: `<${deliveryId}@x>`, mayBeRepeated: false, attempts: [], tries: 0, nextAttemptAt: null };
  return { workspace: 'w', deliveryId, personId: `p-${deliveryId}`, templateId: 't', templateVersion: 1, channel: 'email', source, ...state, ...times, ...changes, to: changes.to ?? to };
}

test('deliveries that are written down together fare as they would one by one', async (t) => {
  const context = testContext();
  const storage = moduleStorage(context, 'notification');
  await storage.start();
  t.after(async () => {
    await storage.stop(1_000);
    context.remove();
  });
  await storage.migrate([...fabricMigrations, ...migrations]);
  const options = { module: 'notification', publishes: new Set(['notification.delivery-updated', 'notification.unsubscribed']), strict: true, clock: context.clock };
  const store = new OutboxStore<NotificationTables>(storage, options, () => {});
  const log = new DeliveryLog(store, noMetrics);
  const trace = newTrace();
  const begin = (one: StoredDelivery & { to: string }, personId = one.personId): Promise<StoredDelivery> => log.begin(one, null, { personId, trace });

  const suppressions = new Suppressions(store, context.clock);
  await suppressions.suppress('w', { address: 'LISTED@example.org', channel: 'email', reason: 'bounced' });
  await suppressions.suppress('other', { address: 'fine1@example.org', channel: 'email', reason: 'bounced' });
  await suppressions.unsubscribe('w', 'merged', 'email');
  await begin(delivery('there'));

  const fine = Array.from({ length: 40 }, (_, i) => delivery(`fine${i}`));
  const begun = Promise.all(fine.map((one) => begin(one)));
  const listed = begin(delivery('listed'));
  const optedOut = begin(delivery('merged'), 'merged');
  const unstorable = begin(delivery('bad', { to: 'a\0@example.org' }));
  await Promise.all([rejectsWith('conflict', begin(delivery('there')), 'delivery_changed'), rejectsWith('invalid', unstorable, 'unstorable_text')]);
  assert.deepEqual((await begun).map(({ state }) => state), fine.map(() => 'sending'));
  assert.deepEqual([await listed, await optedOut].map(({ state, reason }) => [state, reason]), [['suppressed', 'suppression_list'], ['suppressed', 'unsubscribed']]);

  const sent = await Promise.all((await begun).map((one) => log.record({ ...one, state: 'sent', updatedAt: 2 }, one, trace)));
  await rejectsWith('conflict', log.record({ ...sent[0]!, state: 'failed' }, (await begun)[0]!, trace), 'delivery_changed');

  const states = await storage.db.selectFrom('deliveries').select((eb) => ['state', eb.fn.countAll<number>().as('n')]).groupBy('state').orderBy('state').execute();
  assert.deepEqual(states.map(({ state, n }) => [state, n]), [['sending', 1], ['sent', 40], ['suppressed', 2]]);
  const counts = await storage.db.selectFrom('delivery_counts').select((eb) => ['bucket', eb.fn.sum<number>('amount').as('n')]).groupBy('bucket').orderBy('bucket').execute();
  assert.deepEqual(counts.map(({ bucket, n }) => [bucket, n]), [['audience', 43], ['sent', 40], ['suppressed', 2]]);
  const told = await storage.db.selectFrom('fabric_outbox').select('id').where('name', '=', 'notification.delivery-updated').execute();
  assert.equal(told.length, 42, 'each that came to rest is told of once');
});
