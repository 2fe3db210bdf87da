import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deploy, extremes } from '../support/deployments.ts';
import type { TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';

const MJML = `<mjml><mj-body><mj-section><mj-column>
  <mj-text>Dear {{ person.firstName }}, {{ event.word }}.</mj-text>
  <mj-text><a href="{{ unsubscribe_url }}">Unsubscribe</a></mj-text>
</mj-column></mj-section></mj-body></mjml>`;

for (const deployment of extremes) {
  describe(`the API of ${deployment.name}, without a mail server`, () => {
    let system: TestSystem;
    let workspace: TestWorkspace;
    let templateId: string;
    let personId: string;
    before(async () => {
      system = await deploy(deployment);
      workspace = await TestWorkspace.create(system);
    });
    after(() => system?.dispose());

    const call = (path: string, init: RequestInit & { headers?: Record<string, string> } = {}) =>
      fetch(`${system.url}${path}`, { redirect: 'manual', signal: AbortSignal.timeout(15_000), ...init, headers: { authorization: `Bearer ${workspace.key}`, ...init.headers } });

    it('previews as a real person by the renderer that sends, draft and version alike', async () => {
      ({ personId } = await workspace.ask('POST', '/api/v1/people', { userId: 'ada', email: 'ada@customer.example', attributes: { firstName: 'Ada <3' } }));
      templateId = await workspace.template({ subject: 'Hello {{ person.firstName }}', body: MJML, format: 'mjml' });
      await workspace.ask('PATCH', `/api/v1/templates/${templateId}`, { draft: { subject: 'Draft for {{ person.firstName }}', format: 'html', body: '<p>{{ event.word }}</p>', text: null, from: null } });
      const preview = (body: object) => workspace.ask('POST', `/api/v1/templates/${templateId}/preview`, { personId, event: { word: 'good day' }, ...body });
      const [draft, first] = [await preview({}), await preview({ version: 1 })];
      assert.deepEqual([draft.subject, draft.html], ['Draft for Ada <3', '<p>good day</p>']);
      assert.equal(first.subject, 'Hello Ada <3');
      assert.match(first.html, /Dear Ada &lt;3, good day\./);
      assert.equal(first.to, 'ada@customer.example');
    });

    it('names the line of what cannot be compiled', async () => {
      const { templateId: broken } = await workspace.ask('POST', '/api/v1/templates', { name: 'Broken', draft: { subject: 'x', format: 'mjml', body: '<mjml><mj-body>\n{% if %}</mj-body></mjml>', text: null, from: null } });
      const reply = await call(`/api/v1/templates/${broken}/publish`, { method: 'POST' });
      const problem = (await reply.json()) as { reason: string; details: { problems: unknown[] } };
      assert.deepEqual([reply.status, problem.reason], [400, 'template_invalid']);
      assert.ok(problem.details.problems.length > 0);
    });

    it('sends a test to the outbox, where it can be read', async () => {
      const { deliveryId } = await workspace.ask('POST', `/api/v1/templates/${templateId}/test-sends`, { personId, version: 1, to: 'staff@agency.example', event: { word: 'testing' } });
      const { items } = await workspace.until(`/api/v1/outbox`, (answer: { items: unknown[] }) => answer.items.length === 1);
      assert.equal(items[0].deliveryId, deliveryId);
      const delivery = await workspace.until(`/api/v1/deliveries/${deliveryId}`, (answer: { state: string }) => answer.state === 'sent');
      assert.deepEqual([delivery.to, delivery.source.kind], ['staff@agency.example', 'test']);
      const mail = await workspace.ask('GET', `/api/v1/outbox/${deliveryId}`);
      assert.match(mail.text, /Dear Ada <3, testing\./);
      assert.match(mail.raw, /^(?:.+\r\n)+\r\n/);
    });

    it('fires an automation, tells it live, counts it, and the link in the mail unsubscribes at a click', async () => {
      const stream = await call('/api/v1/stream');
      assert.equal(stream.status, 200);
      const told = readUntil(stream, (text) => /"state":"sent"/.test(text) && /"events":[1-9]/.test(text));
      const automationId = await workspace.automation('Greeted', templateId);
      await workspace.send([{ type: 'track', userId: 'ada', event: 'Greeted', messageId: 'm1', properties: { word: 'hi' } }]);
      const { items } = await workspace.until(`/api/v1/deliveries?sourceId=${automationId}`, (answer: { items: { state: string }[] }) => answer.items[0]?.state === 'sent');
      assert.match(await told, new RegExp(items[0].deliveryId));
      const counts = await workspace.ask('GET', `/api/v1/automations/${automationId}/deliveries/counts`);
      assert.deepEqual([counts.audience, counts.sent], [1, 1]);
      assert.deepEqual((await workspace.ask('GET', `/api/v1/people/${personId}/events`)).items.map((event: { name: string }) => event.name), ['Greeted']);
      assert.equal((await workspace.ask('GET', '/api/v1/events')).items[0].personId, personId);

      const { raw } = await workspace.ask('GET', `/api/v1/outbox/${items[0].deliveryId}`);
      const link = /^List-Unsubscribe: <(\S+)>/m.exec(raw.replace(/\r\n[ \t]+/g, ' '))![1]!;
      const path = new URL(link).pathname;
      assert.equal((await call(path)).status, 200);
      assert.equal((await workspace.ask('GET', `/api/v1/people/${personId}`)).consent.email, 'unknown');
      const click = await fetch(`${system.url}${path}`, { method: 'POST', body: new URLSearchParams({ 'List-Unsubscribe': 'One-Click' }) });
      assert.equal(click.status, 200);
      const person = await workspace.until(`/api/v1/people/${personId}`, (answer: { consent: { email: string } }) => answer.consent.email === 'denied');
      assert.equal(person.consentBy, 'person');
      await workspace.send([{ type: 'track', userId: 'ada', event: 'Greeted', messageId: 'm2', properties: { word: 'again' } }]);
      const after = await workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, (answer: { audience: number }) => answer.audience === 2);
      assert.equal(after.sent, 1);
      assert.equal((await fetch(`${system.url}${path.slice(0, -3)}AAA`)).status, 404);
    });

    it('puts its description where programs look for it, and its pages where people do', async () => {
      const document = (await (await call('/api/openapi.json')).json()) as { openapi: string; servers: { url: string }[] };
      assert.equal(document.openapi, '3.1.0');
      for (const path of ['/login', '/docs']) assert.equal((await call(path)).status, 200);
      assert.equal((await fetch(`${system.url}/`, { redirect: 'manual' })).headers.get('location'), '/login');
    });

    it('keeps secrets and people out of its log', () => {
      assert.ok(!system.output.includes(workspace.key.slice(10)));
      assert.ok(!system.output.includes('ada@customer.example') && !system.output.includes('correct horse'));
    });

    it('ends open streams when it stops', async () => {
      const stream = await call('/api/v1/stream');
      const ended = readUntil(stream, () => false);
      assert.deepEqual(await system.stop(), system.hosts.map(() => 0));
      assert.match(await ended, /event: hello/);
    });
  });
}

/** What the stream has said when that is enough, or when it has ended. */
async function readUntil(response: Response, enough: (text: string) => boolean): Promise<string> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (enough(text)) break;
  }
  return text;
}
