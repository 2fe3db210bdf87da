import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import PostalMime from 'postal-mime';
import { Fault } from '../../../src/kernel/fault.ts';
import { accepted, answering, assertAddsUp, rejected, rigWith } from '../../support/deliveries.ts';
import { compiled, person } from '../../support/notification-rig.ts';

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
    for (const question of [() => rig.api.track({ deliveryId: id }, rig.call('w2')), () => rig.api.readOutbox({ deliveryId: id }, rig.call('w2'))]) {
      await assert.rejects(question(), (fault) => Fault.is(fault) && fault.reason === 'delivery_not_found');
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
