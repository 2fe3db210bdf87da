import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import PostalMime from 'postal-mime';
import { UnsubscribeTokens } from '../../../modules/notification/unsubscribe/token.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { accepted, assertAddsUp, rigWith } from '../../support/deliveries.ts';
import { person, ScriptedChannel, WORKSPACE, type NotificationRig } from '../../support/notification-rig.ts';
import { seeded } from '../../support/seed.ts';

describe('unsubscribing', () => {
  const linkIn = async (rig: NotificationRig, id: string): Promise<string> => {
    const { raw } = await rig.api.readOutbox({ deliveryId: id }, rig.call());
    const mail = await PostalMime.parse(raw);
    const header = mail.headers.find(({ key }) => key === 'list-unsubscribe')!.value;
    assert.equal(mail.headers.find(({ key }) => key === 'list-unsubscribe-post')!.value, 'List-Unsubscribe=One-Click');
    return /^<http:\/\/127\.0\.0\.1:8080\/u\/([\w-]+)>$/.exec(header)![1]!;
  };

  it('stops everything to the person and the address at once, once, and can be lifted', async () => {
    const rig = await rigWith();
    rig.portal.people.set('twin', person('twin', { email: 'ADA@example.org' }));
    const id = await rig.ask();
    await rig.rest(id);
    const token = await linkIn(rig, id);
    assert.deepEqual(await rig.api.readUnsubscribeToken({ token }, rig.call()), { workspace: WORKSPACE, personId: 'ada', channel: 'email' });
    assert.equal((await rig.rest(await rig.ask())).state, 'sent', 'reading the link changes nothing');

    for (const _ of [1, 2]) assert.equal((await rig.api.unsubscribe({ token }, rig.call())).personId, 'ada');
    const moved = person('ada', { email: 'new@example.org' });
    rig.portal.people.set('ada', moved);
    for (const personId of ['ada', 'twin']) {
      const delivery = await rig.rest(await rig.ask({ personId }));
      assert.deepEqual([delivery.state, delivery.reason], ['suppressed', 'unsubscribed'], personId);
    }
    await rig.until(async () => rig.events.some(({ name }) => name === 'notification.unsubscribed'));
    assert.equal(rig.events.filter(({ name }) => name === 'notification.unsubscribed').length, 1);
    assert.deepEqual((await rig.api.listSuppressions({ limit: 10 }, rig.call())).items.map(({ address, reason }) => ({ address, reason })), [{ address: 'ada@example.org', reason: 'unsubscribed' }]);

    await rig.api.unsuppress({ address: 'Ada@Example.org', channel: 'email' }, rig.call());
    assert.equal((await rig.rest(await rig.ask({ personId: 'twin' }))).state, 'sent');
    const own = await rig.rest(await rig.ask());
    assert.deepEqual([own.state, own.reason], ['suppressed', 'unsubscribed'], 'staff cannot lift what the person said');
    await assertAddsUp(rig);
  });

  const token = () => new UnsubscribeTokens(new Uint8Array(32).fill(7)).write({ workspace: WORKSPACE, personId: 'ada', channel: 'email', test: false });
  for (const [who, reason, act] of [
    ['the person', 'unsubscribed', (rig: NotificationRig) => rig.api.unsubscribe({ token: token() }, rig.call())],
    ['somebody with the same address', 'unsubscribed', (rig: NotificationRig) => rig.api.unsubscribe({ token: token() }, rig.call())],
    ['staff', 'suppression_list', (rig: NotificationRig) => rig.api.suppress({ address: 'ADA@example.org', channel: 'email', reason: 'bounced' }, rig.call())],
  ] as const) {
    it(`stops a mail that was decided on and waits for its turn, when ${who} says so`, async () => {
      let release = (): void => {};
      const released = new Promise<void>((resolve) => (release = resolve));
      const channel = new ScriptedChannel(async ({ envelope }) => {
        if (envelope.to === 'eve@example.org') await released;
        return accepted;
      }, 1);
      const rig = await rigWith({ channels: new Map([['email', channel]]) });
      for (const id of ['eve', 'bob']) rig.portal.people.set(id, person(id));
      rig.portal.people.set('twin', person('twin', { email: 'Ada@example.org' }));
      await rig.rest(await rig.ask());
      await rig.ask({ personId: 'eve' });
      await rig.until(async () => channel.sent.length === 2);
      const waiting = await rig.ask({ personId: who === 'somebody with the same address' ? 'twin' : 'ada' });
      const unconcerned = await rig.ask({ personId: 'bob' });
      await rig.until(async () => (await rig.api.listDeliveries({ state: 'sending', limit: 10 }, rig.call())).items.length === 3);
      await act(rig);
      // Lifting another address lifts nothing of this one.
      await rig.api.unsuppress({ address: 'bob@example.org', channel: 'email' }, rig.call());
      release();
      const delivery = await rig.rest(waiting);
      assert.deepEqual([delivery.state, delivery.reason], ['suppressed', reason]);
      assert.equal((await rig.rest(unconcerned)).state, 'sent');
      assert.equal(channel.sent.length, 3);
      await assertAddsUp(rig);
    });
  }

  it('reads every token that it writes', () => {
    const id = fc.oneof(fc.uuid(), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).map((text) => text.toWellFormed()));
    const tokens = new UnsubscribeTokens(new Uint8Array(32).fill(1));
    const others = new UnsubscribeTokens(new Uint8Array(32).fill(2));
    fc.assert(
      fc.property(id, id, id, fc.boolean(), (workspace, personId, channel, test) => {
        const token = tokens.write({ workspace, personId, channel, test });
        assert.match(token, /^[A-Za-z0-9_-]+$/);
        assert.deepEqual(tokens.read(token), { workspace, personId, channel, test });
        assert.equal(others.read(token), null);
      }),
      { seed: seeded(console.log).seed },
    );
  });

  it('refuses tokens that were changed, cut or made elsewhere', async () => {
    const rig = await rigWith();
    const id = await rig.ask();
    await rig.rest(id);
    const token = await linkIn(rig, id);
    assert.ok(token.length <= 120);
    const flipped = [...token].map((c, i) => token.slice(0, i) + (c === 'A' ? 'B' : 'A') + token.slice(i + 1));
    for (const bad of [...flipped, token.slice(1), token.slice(0, -1), `${token}A`, '', 'x'.repeat(1_000), '../../etc']) {
      await assert.rejects(rig.api.unsubscribe({ token: bad }, rig.call()), (fault) => Fault.is(fault) && fault.reason === 'token_invalid', bad);
    }
  });

  it('lists suppressions page by page', async () => {
    const rig = await rigWith();
    for (let i = 0; i < 12; i++) await rig.api.suppress({ address: `a${i}@example.org`, channel: 'email', reason: 'bounced' }, rig.call());
    await rig.api.suppress({ address: 'A0@example.org', channel: 'email', reason: 'again' }, rig.call());
    const first = await rig.api.listSuppressions({ limit: 8 }, rig.call());
    const second = await rig.api.listSuppressions({ limit: 8, after: first.next! }, rig.call());
    assert.deepEqual([first.items.length, second.items.length, second.next], [8, 4, null]);
    assert.equal(new Set([...first.items, ...second.items].map(({ address }) => address)).size, 12);
  });
});
