import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Analytics } from '@segment/analytics-node';
import PostalMime from 'postal-mime';
import { deploy, deployments } from '../support/deployments.ts';
import { header, parseWithPython } from '../support/python-mail.ts';
import { MailServer } from '../support/smtp-server.ts';
import type { TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';

const MJML = `<mjml><mj-body><mj-section><mj-column>
  <mj-text>Dear {{ person.firstName }}, your quote for {{ event.line }} is {{ event.premium }}.</mj-text>
  {% if person.plan == 'gold' %}<mj-text>You are gold.</mj-text>{% endif %}
  <mj-text><a href="{{ unsubscribe_url }}">Unsubscribe</a></mj-text>
</mj-column></mj-section></mj-body></mjml>`;

for (const deployment of deployments) {
  describe(`the main job, ${deployment.name}: a real client posts events, an automation fires, a personal mail arrives`, () => {
    let server: MailServer;
    let system: TestSystem;
    let workspace: TestWorkspace;
    let analytics: Analytics;
    before(async () => {
      server = await MailServer.start();
      system = await deploy(deployment, { env: { MULTILITH_SMTP_URL: server.url } });
      workspace = await TestWorkspace.create(system);
      analytics = new Analytics({ writeKey: workspace.key, host: system.url, flushAt: 5 });
    });
    after(async () => {
      await analytics?.closeAndFlush({ timeout: 2_000 });
      await system?.dispose();
      await server?.stop();
    });

    it('sends each person one mail, rendered with what is known of them', async () => {
      const templateId = await workspace.template({ subject: 'Your quote, {{ person.firstName }}', body: MJML, format: 'mjml' });
      const automationId = await workspace.automation('Quote Requested', templateId, { when: { field: 'event.premium', op: 'gt', value: 100 } });
      analytics.identify({ userId: 'u1', traits: { email: 'zoe@customer.example', firstName: 'Zoë & <Co>', plan: 'gold' } });
      analytics.identify({ userId: 'u2', traits: { email: 'omar@customer.example', firstName: 'Omar' } });
      analytics.track({ userId: 'u1', event: 'Quote Requested', properties: { line: 'Auto', premium: 480 } });
      analytics.track({ userId: 'u2', event: 'Quote Requested', properties: { line: 'Life', premium: 240 } });
      analytics.track({ userId: 'u2', event: 'Quote Requested', properties: { line: 'Pet', premium: 12 } });
      await analytics.flush();

      const mails = await server.received(2);
      const zoe = mails.find((mail) => mail.to[0] === 'zoe@customer.example')!;
      const parsed = parseWithPython(zoe.raw);
      assert.deepEqual(parsed.defects, []);
      assert.equal(header(parsed, 'Subject'), 'Your quote, Zoë & <Co>');
      assert.equal(header(parsed, 'To'), 'zoe@customer.example');
      assert.match(header(parsed, 'Message-ID')!, /^<[^<>@\s]+@[^<>@\s]+>$/);
      assert.match(header(parsed, 'List-Unsubscribe')!, /^<http:\/\/\S+\/u\/\S+>$/);
      assert.equal(header(parsed, 'List-Unsubscribe-Post'), 'List-Unsubscribe=One-Click');
      for (const once of ['From', 'To', 'Subject', 'Date', 'Message-ID', 'MIME-Version']) {
        assert.equal(parsed.headers.filter(([name]) => name.toLowerCase() === once.toLowerCase()).length, 1, once);
      }
      assert.deepEqual(parsed.parts.map((part) => part.type), ['text/plain', 'text/html']);
      const [text, html] = parsed.parts.map((part) => part.text);
      assert.match(text!, /Dear Zoë & <Co>, your quote for Auto is 480\./);
      assert.match(html!, /Dear Zoë &amp; &lt;Co&gt;, your quote for Auto is 480\./);
      assert.match(html!, /You are gold/);
      assert.doesNotMatch(html!, /\{\{|\{%/);
      const postal = await PostalMime.parse(Buffer.from(zoe.raw, 'latin1'));
      assert.equal(postal.subject, 'Your quote, Zoë & <Co>');
      assert.match(postal.html!, /You are gold/);

      const counts = await workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, (c) => c.sent === 2);
      assert.deepEqual([counts.audience, counts.pending, counts.uncertain], [2, 0, 0]);
      const { items } = await workspace.ask('GET', `/api/v1/deliveries?sourceId=${automationId}`);
      assert.deepEqual(items.map((d: any) => [d.state, d.attempts.length, d.attempts[0].result]), [['sent', 1, 'accepted'], ['sent', 1, 'accepted']]);
      assert.match(items[0].attempts[0].response, /^250 /);
    });

    it('sends nothing twice for an event that the client sends again, and nothing to those who unsubscribed', async () => {
      const templateId = await workspace.template({ subject: 'Claim {{ event.number }}', body: '<p>Hello {{ person.firstName }}</p>' });
      const automationId = await workspace.automation('Claim Opened', templateId);
      const event = { type: 'track', messageId: 'claim-1', userId: 'u2', event: 'Claim Opened', properties: { number: 7 }, timestamp: new Date().toISOString() };
      const already = server.mails.length;
      for (let time = 0; time < 3; time++) assert.equal((await workspace.send([event])).status, 200);
      const mail = (await server.received(already + 1))[already]!;
      const link = /<(http:\S+\/u\/\S+?)>/.exec(header(parseWithPython(mail.raw), 'List-Unsubscribe')!)![1]!;

      assert.equal((await fetch(link)).status, 200, 'looking at the page');
      await workspace.send([{ ...event, messageId: 'claim-2' }]);
      await server.received(already + 2);

      const posted = await fetch(link, { method: 'POST', body: new URLSearchParams({ 'List-Unsubscribe': 'One-Click' }) });
      assert.equal(posted.status, 200, await posted.text());
      await workspace.send([{ ...event, messageId: 'claim-3' }]);
      const counts = await workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, (c) => c.audience === 3 && c.pending === 0);
      assert.deepEqual([counts.sent, Object.values(counts.suppressed)], [2, [1]]);
      assert.equal(server.mails.length, already + 2);
      await workspace.until('/api/v1/people', (page) => page.items.find((p: any) => p.userId === 'u2').consent.email === 'denied');
    });

    it('waits as the automation says and looks again before it sends', async () => {
      const templateId = await workspace.template({ subject: 'Still there?', body: '<p>Hello</p>' });
      const automationId = await workspace.automation('Cart Left', templateId, { waitMs: 1_000, still: { field: 'person.bought', op: 'missing' } });
      const already = server.mails.length;
      for (const userId of ['u3', 'u4']) await workspace.send([{ type: 'identify', userId, traits: { email: `${userId}@customer.example` } }, { type: 'track', userId, event: 'Cart Left' }]);
      await workspace.until('/api/v1/agenda', (agenda) => agenda.items.length === 2);
      await workspace.send([{ type: 'identify', userId: 'u3', traits: { bought: true } }]);
      await server.received(already + 1);
      const counts = await workspace.until(`/api/v1/automations/${automationId}/counts`, (c) => c.waiting === 0);
      assert.deepEqual([counts.entered, counts.sent, Object.values(counts.left)], [2, 1, [1]]);
      assert.deepEqual(server.mails.slice(already).map((mail) => mail.to[0]), ['u4@customer.example']);
    });

    it('forgets where a deleted person\'s mails went, and nobody else\'s', async () => {
      const sent = await workspace.ask('GET', '/api/v1/deliveries?state=sent');
      const own = sent.items.find((d: any) => d.to === 'u4@customer.example');
      await workspace.ask('DELETE', `/api/v1/people/${own.personId}`);
      const of = (personId: string) => `/api/v1/deliveries?personId=${personId}`;
      const erased = await workspace.until(of(own.personId), (page) => page.items.every((d: any) => d.to === null));
      assert.deepEqual(erased.items.map((d: any) => [d.state, d.attempts.map((a: any) => a.response)]), [['sent', ['']]]);
      const other = sent.items.find((d: any) => d.personId !== own.personId);
      assert.deepEqual((await workspace.ask('GET', of(other.personId))).items.find((d: any) => d.deliveryId === other.deliveryId), other);
    });

    it('keeps addresses, names and secrets out of its log', () => {
      assert.doesNotMatch(system.output, /customer\.example|Zoë|Omar|correct horse/);
      assert.ok(!system.output.includes(workspace.key));
    });

    it('stops in order when told to, without waiting for its deadline', async () => {
      const began = performance.now();
      assert.deepEqual(await system.stop(), system.processes.map(() => 0), system.output);
      assert.ok(performance.now() - began < 8_000);
    });

    if (deployment.name === 'notification on a thread') {
      it('has the templates that were in use warm when it is ready again', async () => {
        const again = await system.startHost('app');
        await again.says(/"module":"notification".*"templates":\d.*"msg":"templates are warm"/);
      });
    }
  });
}
