import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import PostalMime from 'postal-mime';
import { smtp, SmtpSettings } from '../../../adapters/channel/smtp/driver.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { testContext } from '../../support/context.ts';
import { accepted, answering, assertAddsUp, deferred, FAST, rejected, rigWith, uncertain } from '../../support/deliveries.ts';
import { keyThatCannotSign } from '../../support/keys.ts';
import { compiled, notificationRig, person, ScriptedChannel, type PortalData } from '../../support/notification-rig.ts';
import { SmtpFaultServer } from '../../support/smtp-fault-server.ts';

describe('a delivery that is put off, refused or not answered', () => {
  it('is tried again after it was put off, and carries the same Message-ID', async () => {
    const { channel, channels } = answering(deferred, deferred, accepted);
    const rig = await rigWith({ channels, settings: FAST });
    const delivery = await rig.rest(await rig.ask());
    assert.equal(delivery.state, 'sent');
    assert.deepEqual(delivery.attempts.map(({ result }) => result), ['deferred', 'deferred', 'accepted']);
    assert.equal(delivery.attempts[0]!.response, '451 4.7.1 Later');
    assert.equal(delivery.mayBeRepeated, false);
    const ids = await Promise.all(channel.sent.map(async ({ raw }) => (await PostalMime.parse(raw)).messageId));
    assert.deepEqual(new Set(ids), new Set([`<${delivery.messageId}>`]));
    await assertAddsUp(rig);
  });

  it('fails with the server\'s words when it is refused, or put off too often', async () => {
    const refusing = await rigWith({ ...answering(rejected), settings: FAST });
    const refused = await refusing.rest(await refusing.ask());
    assert.deepEqual([refused.state, refused.reason, refused.attempts.length, refused.attempts[0]!.response], ['failed', '5.1.1', 1, '550 5.1.1 Nobody']);
    const slow = await rigWith({ ...answering(deferred), settings: FAST });
    const givenUp = await slow.rest(await slow.ask());
    assert.deepEqual([givenUp.state, givenUp.reason, givenUp.attempts.length], ['failed', '4.7.1', 4]);
    await assertAddsUp(refusing);
    await assertAddsUp(slow);
  });

  it('is repeated once when its answer was lost, and says so', async () => {
    const { channel, channels } = answering(uncertain, accepted);
    const rig = await rigWith({ channels, settings: FAST });
    const delivery = await rig.rest(await rig.ask());
    assert.deepEqual([delivery.state, delivery.mayBeRepeated, delivery.attempts.map(({ result }) => result)], ['sent', true, ['uncertain', 'accepted']]);
    assert.equal(channel.sent.length, 2);
    const twice = await rigWith({ ...answering(uncertain), settings: FAST });
    const lost = await twice.rest(await twice.ask());
    assert.deepEqual([lost.state, lost.attempts.length, lost.mayBeRepeated], ['uncertain', 2, true]);
    await assertAddsUp(rig);
    await assertAddsUp(twice);
  });

  it('does not call itself failed when an earlier answer was lost', async () => {
    const rig = await rigWith({ ...answering(uncertain, rejected), settings: FAST });
    assert.equal((await rig.rest(await rig.ask())).state, 'uncertain');
  });

  it('stays uncertain where repeating is off', async () => {
    const { channel, channels } = answering(uncertain, accepted);
    const rig = await rigWith({ channels, settings: { ...FAST, onUncertain: 'hold' } });
    const delivery = await rig.rest(await rig.ask());
    assert.deepEqual([delivery.state, delivery.reason, delivery.mayBeRepeated], ['uncertain', 'connection_closed', false]);
    assert.equal(channel.sent.length, 1);
  });

  it('waits without using up tries while the channel rests', async () => {
    const { channel, channels } = answering(accepted);
    const rig = await rigWith({ channels, settings: FAST });
    channel.pausedUntil = Date.now() + 60_000;
    const id = await rig.ask();
    const pending = await rig.until(async () => {
      const { items } = await rig.api.listDeliveries({ state: 'pending', limit: 10 }, rig.call());
      return items[0];
    });
    assert.deepEqual([pending.deliveryId, pending.reason, pending.attempts], [id, 'channel_paused', []]);
    assert.ok(pending.nextAttemptAt! > Date.now() + 50_000);
    assert.equal(channel.sent.length, 0);
    await assertAddsUp(rig);
  });

  it('waits while portal is away, and is sent when it is back', async () => {
    const { channels } = answering(accepted);
    const rig = await rigWith({ channels });
    rig.portal.away = new Fault('unavailable', 'away');
    const id = await rig.ask();
    await rig.until(async () => rig.portal.calls.length >= 2);
    rig.portal.away = null;
    assert.equal((await rig.rest(id)).state, 'sent');
  });

  it('is put off at each try, and nothing is sent, when the mail cannot be signed', async () => {
    const server = new SmtpFaultServer();
    const context = testContext();
    const dkim = { domain: 'agency.example', selector: 's1', privateKey: keyThatCannotSign() };
    const channel = smtp.create(SmtpSettings.parse({ host: '127.0.0.1', port: await server.listen(), dkim }), context);
    try {
      const rig = await rigWith({ channels: new Map([['email', channel]]), settings: FAST });
      const delivery = await rig.rest(await rig.ask());
      assert.deepEqual([delivery.state, delivery.reason, delivery.mayBeRepeated], ['failed', 'channel_failed', false]);
      assert.deepEqual(delivery.attempts.map(({ result, reason, response }) => [result, reason, response]), Array(4).fill(['deferred', 'channel_failed', 'The channel failed.']));
      assert.deepEqual([server.connections, server.mails], [0, []]);
      await assertAddsUp(rig);
    } finally {
      await channel.stop(1_000);
      await server.close();
      context.remove();
    }
  });
});

describe('after a crash in the middle of sending', () => {
  it('the delivery counts as uncertain and is repeated once, marked', { timeout: 30_000 }, async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'multilith-crash-'));
    const portal: PortalData = { people: new Map([['ada', person('ada')]]), merged: new Map(), templates: new Map([['t1', { version: 1, compiled: compiled() }]]), calls: [], away: null };
    let wasHandedOver: () => void;
    const handedOver = new Promise<void>((resolve) => (wasHandedOver = resolve));
    const hanging = new ScriptedChannel(() => {
      wasHandedOver();
      return new Promise(() => {});
    });
    const first = await notificationRig({ dataDir, portal, channels: new Map([['email', hanging]]) });
    const id = await first.ask();
    await handedOver;
    // As a killed program leaves it: the handler never comes back, the message is still on the queue.
    await first.composition.stop(300).catch(() => {});
    const { channel, channels } = answering(accepted);
    const second = await rigWith({ dataDir, portal, channels });
    const delivery = await second.rest(id);
    assert.deepEqual([delivery.state, delivery.mayBeRepeated, delivery.attempts.map(({ reason }) => reason)], ['sent', true, ['interrupted', '2.0.0']]);
    assert.equal(channel.sent.length, 1);
    assert.equal((await PostalMime.parse(channel.sent[0]!.raw)).messageId, (await PostalMime.parse(hanging.sent[0]!.raw)).messageId);
    await assertAddsUp(second);
    rmSync(dataDir, { recursive: true, force: true });
  });
});
