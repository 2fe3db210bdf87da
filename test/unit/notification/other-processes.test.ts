import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { DeliveryLog } from '../../../modules/notification/deliveries/delivery-log.ts';
import { INTERRUPTED, settle } from '../../../modules/notification/deliveries/delivery.ts';
import { NotificationSettings } from '../../../modules/notification/settings.ts';
import { Suppressions } from '../../../modules/notification/suppressions/suppressions.ts';
import type { NotificationTables } from '../../../modules/notification/tables.ts';
import { OutboxStore } from '../../../src/fabric/outbox.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { noMetrics, testContext } from '../../support/context.ts';
import { accepted, assertAddsUp, rigWith } from '../../support/deliveries.ts';
import { moduleStorage, TEST_POSTGRES } from '../../support/module-storage.ts';
import { person, ScriptedChannel, WORKSPACE } from '../../support/notification-rig.ts';
import { PostgresServer } from '../../support/postgres.ts';

const server = new PostgresServer();
before(async () => {
  await server.start();
  process.env[TEST_POSTGRES] = String(server.port);
});
// Behind the rigs, which go at the end of the file as well.
after(() => server.remove());

describe('of several processes that store in one database', () => {
  for (const [what, reason, act] of [
    ['an opt-out', 'unsubscribed', (other: Suppressions) => other.unsubscribe(WORKSPACE, 'ada', 'email')],
    ['a suppression', 'suppression_list', (other: Suppressions) => other.suppress(WORKSPACE, { address: 'ADA@example.org', channel: 'email', reason: 'bounced' })],
  ] as const) {
    it(`${what} that reaches one stops a mail that another has decided on`, async (t) => {
      const { promise: released, resolve: release } = Promise.withResolvers<void>();
      const channel = new ScriptedChannel(async ({ envelope }) => {
        if (envelope.to === 'eve@example.org') await released;
        return accepted;
      }, 1);
      const rig = await rigWith({ channels: new Map([['email', channel]]) });
      for (const id of ['eve', 'bob']) rig.portal.people.set(id, person(id));
      const storage = moduleStorage(testContext({ dataDir: rig.composition.dataDir }), 'notification');
      await storage.start();
      t.after(() => storage.stop(1_000));
      const other = new Suppressions(new OutboxStore<NotificationTables>(storage, { module: 'notification', publishes: new Set(['notification.unsubscribed']), strict: true, clock: systemClock }, () => {}), systemClock);

      await rig.ask({ personId: 'eve' });
      await rig.until(async () => channel.sent.length === 1);
      const waiting = await rig.ask();
      const unconcerned = await rig.ask({ personId: 'bob' });
      await rig.until(async () => (await rig.api.listDeliveries({ state: 'sending', limit: 10 }, rig.call())).items.length === 3);
      await act(other);
      release();
      const delivery = await rig.rest(waiting);
      assert.deepEqual([delivery.state, delivery.reason], ['suppressed', reason]);
      assert.equal((await rig.rest(unconcerned)).state, 'sent');
      assert.equal(channel.sent.length, 2);
      await assertAddsUp(rig);
    });
  }

  it('a mail that one has handed over, while another took it for cut off and sends it anew, says that it may have come twice', async (t) => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const channel = new ScriptedChannel(async () => (await released, accepted), 1);
    const rig = await rigWith({ channels: new Map([['email', channel]]) });
    rig.portal.people.set('eve', person('eve'));
    const storage = moduleStorage(testContext({ dataDir: rig.composition.dataDir }), 'notification');
    await storage.start();
    t.after(() => storage.stop(1_000));
    const other = new DeliveryLog(new OutboxStore<NotificationTables>(storage, { module: 'notification', publishes: new Set(['notification.delivery-updated']), strict: true, clock: systemClock }, () => {}), noMetrics);

    const id = await rig.ask({ personId: 'eve' });
    await rig.until(async () => channel.sent.length === 1);
    const found = (await other.find(WORKSPACE, id))!;
    const now = found.updatedAt + 1;
    const { trace } = rig.call();
    const cutOff = await other.record({ ...found, ...settle(found, INTERRUPTED, NotificationSettings.parse({}), now, Math.random), updatedAt: now }, found, trace);
    await other.begin({ ...cutOff, to: found.to!, nextAttemptAt: null, updatedAt: now + 1 }, cutOff, { personId: 'eve', trace });
    release();
    const delivery = await rig.rest(id);
    assert.deepEqual([delivery.state, delivery.mayBeRepeated, channel.sent.length], ['sent', true, 1]);
    await assertAddsUp(rig);
  });
});
