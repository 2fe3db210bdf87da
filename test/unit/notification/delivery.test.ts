import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import PostalMime from 'postal-mime';
import { UnsubscribeTokens } from '../../../modules/notification/unsubscribe/token.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { ChannelResult } from '../../../src/ports/channel.ts';
import { compiled, notificationRig, person, ScriptedChannel, WORKSPACE, type NotificationRig, type NotificationRigOptions, type PortalData } from '../../support/notification-rig.ts';
import { seeded } from '../../support/seed.ts';

const FAST = { retryFirstMs: 20, retryMostMs: 40, tries: 4 };
const deferred: ChannelResult = { kind: 'deferred', response: '451 4.7.1 Later', reason: '4.7.1' };
const rejected: ChannelResult = { kind: 'rejected', response: '550 5.1.1 Nobody', reason: '5.1.1' };
const accepted: ChannelResult = { kind: 'accepted', response: '250 ok', reason: '2.0.0' };
const uncertain: ChannelResult = { kind: 'uncertain', response: 'The server closed the connection.', reason: 'connection_closed' };

const rigs: NotificationRig[] = [];
after(() => Promise.all(rigs.map((rig) => rig.dispose())));

async function rigWith(options: NotificationRigOptions = {}): Promise<NotificationRig> {
  const rig = await notificationRig(options);
  rigs.push(rig);
  if (rig.portal.people.size === 0) rig.portal.people.set('ada', person('ada'));
  if (rig.portal.templates.size === 0) rig.portal.templates.set('t1', { version: 3, compiled: compiled() });
  return rig;
}

/** A channel that gives these answers one after the other, the last one for ever. */
function answering(...results: ChannelResult[]): { channel: ScriptedChannel; channels: ReadonlyMap<string, ScriptedChannel> } {
  const channel = new ScriptedChannel(async (_, nth) => results[Math.min(nth, results.length) - 1]!);
  return { channel, channels: new Map([['email', channel]]) };
}

/** The counts and the rows behind them must say the same. */
async function assertAddsUp(rig: NotificationRig, sourceId = 'a1'): Promise<void> {
  const counts = await rig.api.countDeliveries({ sourceId }, rig.call());
  const { items } = await rig.api.listDeliveries({ sourceId, limit: 200 }, rig.call());
  const by = (state: string) => items.filter((delivery) => delivery.state === state);
  const reasons = (state: string) => Object.fromEntries([...new Set(by(state).map(({ reason }) => reason!))].map((reason) => [reason, by(state).filter((d) => d.reason === reason).length]));
  assert.deepEqual(counts, {
    audience: items.length,
    sent: by('sent').length,
    uncertain: by('uncertain').length,
    pending: by('pending').length + by('sending').length,
    suppressed: reasons('suppressed'),
    failed: reasons('failed'),
  });
}

describe('a delivery', () => {
  it('goes from the request to the outbox, rendered with what is true at that moment', async () => {
    const rig = await rigWith();
    const id = await rig.ask();
    const delivery = await rig.rest(id);
    assert.equal(delivery.state, 'sent');
    assert.equal(delivery.to, 'ada@example.org');
    assert.equal(delivery.templateVersion, 3);
    assert.equal(delivery.messageId, `${id}@localhost`);
    assert.deepEqual(delivery.attempts.map(({ result, reason }) => ({ result, reason })), [{ result: 'accepted', reason: 'kept' }]);

    const mail = await rig.api.readOutbox({ deliveryId: id }, rig.call());
    assert.equal(mail.subject, 'Hi ada');
    assert.match(mail.html!, /<p>ada: 5 <a href="http:\/\/127\.0\.0\.1:8080\/u\/[\w-]+">stop<\/a><\/p>/);
    assert.match(mail.text!, /^ada: 5 http:/);
    const parsed = await PostalMime.parse(mail.raw);
    assert.equal(parsed.messageId, `<${delivery.messageId}>`);
    const { items } = await rig.api.listOutbox({ limit: 10 }, rig.call());
    assert.deepEqual(items.map(({ deliveryId, from, to, subject }) => ({ deliveryId, from, to, subject })), [{ deliveryId: id, from: 'Multilith <multilith@localhost>', to: 'ada@example.org', subject: 'Hi ada' }]);
    await assertAddsUp(rig);
    await rig.until(async () => rig.events.some(({ payload }) => payload['deliveryId'] === id && payload['state'] === 'sent'));
  });

  it('is made once for a request that arrives twice', async () => {
    const { channel, channels } = answering(accepted);
    const rig = await rigWith({ channels });
    const id = await rig.ask();
    await rig.rest(id);
    await rig.ask({}, { id });
    await rig.rest(await rig.ask());
    assert.equal(channel.sent.filter(({ deliveryId }) => deliveryId === id).length, 1);
    await assertAddsUp(rig);
  });

  it('is suppressed, with the reason, for whoever must not get it', async () => {
    const { channel, channels } = answering(accepted);
    const rig = await rigWith({ channels });
    const cases: [string, Parameters<typeof person>[1] | null][] = [
      ['opted_out', { consent: { email: 'denied' } }],
      ['person_gone', { gone: true }],
      ['person_gone', null],
      ['no_address', { email: null }],
      ['invalid_address', { email: 'ada@example.org\r\nBcc: eve@example.org' }],
      ['suppression_list', { email: 'Bounced@Example.org' }],
    ];
    await rig.api.suppress({ address: 'bounced@example.ORG', channel: 'email', reason: 'bounced' }, rig.call());
    for (const [i, [reason, change]] of cases.entries()) {
      if (change !== null) rig.portal.people.set(`p${i}`, person(`p${i}`, change));
      const delivery = await rig.rest(await rig.ask({ personId: `p${i}` }));
      assert.deepEqual([delivery.state, delivery.reason], ['suppressed', reason]);
    }
    assert.equal(channel.sent.length, 0);
    await assertAddsUp(rig);
  });

  it('fails, with the reason, when it cannot be made', async () => {
    const { channel, channels } = answering(accepted);
    const rig = await rigWith({ channels });
    rig.portal.templates.set('loop', { version: 1, compiled: compiled({ html: '{% for i in (1..1000000000) %}{% endfor %}' }) });
    for (const [change, reason] of [[{ templateId: 'none' }, 'template_not_published'], [{ channel: 'sms' }, 'channel_not_found'], [{ templateId: 'loop' }, 'template_failed']] as const) {
      const delivery = await rig.rest(await rig.ask(change));
      assert.deepEqual([delivery.state, delivery.reason], ['failed', reason]);
      if (reason === 'template_failed') assert.match(delivery.attempts[0]!.response, /memory|limit/);
    }
    assert.equal(channel.sent.length, 0);
    await assertAddsUp(rig);
  });

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

  it('asks portal once for many persons, and once for a template until a new version is published', async () => {
    const { channels } = answering(accepted);
    const rig = await rigWith({ channels });
    for (let i = 0; i < 100; i++) rig.portal.people.set(`p${i}`, person(`p${i}`));
    const ids = await Promise.all(Array.from({ length: 100 }, (_, i) => rig.ask({ personId: `p${i}` })));
    for (const id of ids) assert.equal((await rig.rest(id)).state, 'sent');
    const of = (method: string) => rig.portal.calls.filter(([name]) => name === method).length;
    assert.ok(of('getRecipients') < 60, `${of('getRecipients')} calls`);
    assert.equal(of('getTemplate'), 1);
    await rig.publishTemplate('t1', compiled({ subject: 'New' }));
    const delivery = await rig.until(async () => {
      const sent = await rig.rest(await rig.ask());
      return sent.templateVersion === 4 && sent;
    });
    assert.equal(delivery.state, 'sent');
    assert.equal(of('getTemplate'), 2);
    await assertAddsUp(rig);
  });

  it('lets no data of a person become a header', async () => {
    const rig = await rigWith();
    const hostile = 'x\r\nBcc: eve@example.org\r\n\r\n<script>\0';
    rig.portal.people.set('ada', person('ada', { attributes: { name: hostile } }));
    rig.portal.templates.set('t1', { version: 1, compiled: compiled({ from: { name: '{{ person.name }}', email: 'team@agency.example' } }) });
    const id = await rig.ask({ event: { amount: hostile } });
    await rig.rest(id);
    const { raw } = await rig.api.readOutbox({ deliveryId: id }, rig.call());
    const mail = await PostalMime.parse(raw);
    assert.deepEqual(mail.headers.map(({ key }) => key), ['from', 'to', 'subject', 'date', 'message-id', 'mime-version', 'list-unsubscribe', 'list-unsubscribe-post', 'content-type']);
    assert.equal(mail.bcc, undefined);
    assert.equal(mail.from!.address, 'team@agency.example');
    assert.doesNotMatch(mail.html!, /<script>/);
  });

  it('goes to whom the person went up in, unless either of the two has opted out', async () => {
    const rig = await rigWith();
    rig.portal.people.set('visitor', person('visitor', { email: null, gone: true }));
    rig.portal.merged.set('visitor', 'ada');
    const delivery = await rig.rest(await rig.ask({ personId: 'visitor' }));
    assert.deepEqual([delivery.state, delivery.to, delivery.personId], ['sent', 'ada@example.org', 'ada']);
    const { raw } = await rig.api.readOutbox({ deliveryId: delivery.deliveryId }, rig.call());
    const { personId } = await rig.api.readUnsubscribeToken({ token: /\/u\/([\w-]+)>/.exec(raw)![1]! }, rig.call());
    assert.equal(personId, 'ada');
    rig.portal.people.set('visitor', person('visitor', { email: 'visitor@example.org' }));
    rig.portal.merged.delete('visitor');
    const before = await rig.rest(await rig.ask({ personId: 'visitor' }));
    await rig.api.unsubscribe({ token: /\/u\/([\w-]+)>/.exec((await rig.api.readOutbox({ deliveryId: before.deliveryId }, rig.call())).raw)![1]! }, rig.call());
    rig.portal.merged.set('visitor', 'ada');
    assert.deepEqual(await rig.rest(await rig.ask({ personId: 'visitor' })).then(({ state, reason }) => [state, reason]), ['suppressed', 'unsubscribed']);
  });

  it('keeps workspaces apart', async () => {
    const rig = await rigWith();
    const id = await rig.ask();
    await rig.rest(id);
    for (const question of [rig.api.track({ deliveryId: id }, rig.call('w2')), rig.api.readOutbox({ deliveryId: id }, rig.call('w2'))]) {
      await assert.rejects(question, (fault) => Fault.is(fault) && fault.reason === 'delivery_not_found');
    }
    assert.deepEqual((await rig.api.listDeliveries({ limit: 10 }, rig.call('w2'))).items, []);
    assert.deepEqual((await rig.api.listOutbox({ limit: 10 }, rig.call('w2'))).items, []);
    assert.equal((await rig.api.countDeliveries({ sourceId: 'a1' }, rig.call('w2'))).audience, 0);
    await rig.api.suppress({ address: 'ada@example.org', channel: 'email', reason: 'bounced' }, rig.call('w2'));
    assert.equal((await rig.rest(await rig.ask())).state, 'sent');
  });

  it('lists pages without gaps or repeats', async () => {
    const { channels } = answering(accepted, rejected);
    const rig = await rigWith({ channels });
    const ids = await Promise.all(Array.from({ length: 25 }, () => rig.ask()));
    for (const id of ids) await rig.rest(id);
    const seen: string[] = [];
    let after: string | undefined;
    do {
      const page = await rig.api.listDeliveries({ limit: 7, ...(after && { after }) }, rig.call());
      seen.push(...page.items.map(({ deliveryId }) => deliveryId));
      after = page.next ?? undefined;
    } while (after !== undefined);
    assert.equal(seen.length, 25);
    assert.deepEqual(new Set(seen), new Set(ids));
    assert.equal((await rig.api.listDeliveries({ state: 'sent', personId: 'ada', limit: 50 }, rig.call())).items.length, 1);
    await assert.rejects(rig.api.listDeliveries({ limit: 7, after: 'nonsense' }, rig.call()), (fault) => Fault.is(fault) && fault.reason === 'cursor_invalid');
  });
});

describe('many deliveries at once', () => {
  it('all come to rest, none twice, and the counts add up, whatever the channel answers', { timeout: 60_000 }, async () => {
    const random = seeded(console.log);
    const answers = [accepted, accepted, accepted, deferred, rejected, uncertain, { ...deferred, untried: true as const, reason: 'line_full' }];
    const channel = new ScriptedChannel(async () => {
      await new Promise((resolve) => setTimeout(resolve, random.whole(5)));
      if (random.whole(40) === 0) throw new Error('a defect of the channel');
      return answers[random.whole(answers.length)]!;
    }, 5);
    const rig = await rigWith({ channels: new Map([['email', channel]]), settings: { ...FAST, tries: 3 } });
    for (let i = 0; i < 10; i++) rig.portal.people.set(`p${i}`, person(`p${i}`, i === 3 ? { consent: { email: 'denied' } } : {}));
    const ids = await Promise.all(Array.from({ length: 150 }, (_, i) => rig.ask({ personId: `p${i % 12}` })));
    for (const id of ids) {
      const delivery = await rig.rest(id);
      const results = delivery.attempts.map(({ result }) => result);
      const wire = channel.sent.filter(({ deliveryId }) => deliveryId === id);
      assert.ok(results.filter((result) => result === 'accepted').length <= 1);
      assert.ok(results.filter((result) => result === 'uncertain').length <= 2);
      assert.equal(delivery.mayBeRepeated, results.slice(0, -1).includes('uncertain'), results.join());
      if (delivery.state === 'sent') assert.equal(results.at(-1), 'accepted');
      if (delivery.state === 'failed') assert.ok(!results.includes('uncertain'), results.join());
      if (delivery.state === 'suppressed') assert.equal(wire.length, 0);
    }
    await assertAddsUp(rig);
    const counts = await rig.api.countDeliveries({ sourceId: 'a1' }, rig.call());
    assert.deepEqual([counts.audience, counts.pending, counts.suppressed], [150, 0, { opted_out: 13, person_gone: 24 }]);
    await rig.until(async () => rig.events.length === 150);
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

describe('trying a template', () => {
  const content = { subject: 'Hi {{ person.name }}', format: 'mjml' as const, body: '<mjml><mj-body><mj-section><mj-column><mj-text>{{ person.name }} {{ event.amount }}</mj-text></mj-column></mj-section></mj-body></mjml>', text: null, from: { name: 'The {{ person.name }} team', email: 'team@agency.example' } };
  const sample = { personId: 'ada', email: 'ada@example.org', attributes: { name: '<Ada>' } };

  it('shows it as the given person, rendered as it would be sent', async () => {
    const rig = await rigWith();
    const shown = await rig.api.preview({ content, person: sample, event: { amount: 7 } }, rig.call());
    assert.deepEqual([shown.from, shown.to, shown.subject], ['The <Ada> team <team@agency.example>', 'ada@example.org', 'Hi <Ada>']);
    assert.match(shown.html, /&lt;Ada&gt; 7/);
    assert.match(shown.text, /<Ada> 7/);
  });

  it('names what is wrong with it', async () => {
    const rig = await rigWith();
    await assert.rejects(rig.api.compileTemplate({ content: { ...content, body: '<mjml>\n<mj-body>\n{{ x | nope }}</mj-body></mjml>' } }, rig.call()), (fault) => {
      assert.ok(Fault.is(fault) && fault.reason === 'template_invalid');
      assert.deepEqual((fault.details['problems'] as { line: number }[]).map(({ line }) => line), [3]);
      return true;
    });
    await assert.rejects(rig.api.preview({ content: { ...content, subject: '{% for i in (1..1000000000) %}{% endfor %}' }, person: sample, event: {} }, rig.call()), (fault) => Fault.is(fault) && fault.reason === 'template_failed');
  });

  it('sends a test once per idempotency key, to the given address, with a link that changes nothing', async () => {
    const rig = await rigWith();
    const request = { content, templateId: 't9', channel: 'email', to: 'staff@agency.example', person: sample, event: { amount: 1 } };
    const call = rig.call().with({ idempotencyKey: 'k1' });
    const { deliveryId } = await rig.api.sendTest(request, call);
    const delivery = await rig.rest(deliveryId);
    assert.deepEqual([delivery.state, delivery.to, delivery.source.kind, delivery.messageId], ['sent', 'staff@agency.example', 'test', `${deliveryId}@agency.example`]);
    assert.equal((await rig.api.sendTest(request, call)).deliveryId, deliveryId);
    const other = call.with({ actor: { kind: 'api_key', id: 'another' } });
    assert.notEqual((await rig.api.sendTest(request, other)).deliveryId, deliveryId);
    const mail = await rig.api.readOutbox({ deliveryId }, rig.call());
    const token = /\/u\/([\w-]+)>/.exec(mail.raw)![1]!;
    await rig.api.unsubscribe({ token }, rig.call());
    assert.equal((await rig.rest(await rig.ask())).state, 'sent');
    assert.equal(rig.events.filter(({ name }) => name === 'notification.unsubscribed').length, 0);
    await assert.rejects(rig.api.sendTest({ ...request, channel: 'pigeon' }, rig.call()), (fault) => Fault.is(fault) && fault.reason === 'channel_not_found');
  });
});
