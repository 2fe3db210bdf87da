import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import { rigWith } from '../../support/deliveries.ts';

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
