import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deploy, extremes } from '../support/deployments.ts';
import { seeded } from '../support/seed.ts';
import type { TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';

const PEOPLE = 40;
const KILLS = 3;

for (const deployment of extremes) {
  /** Automations through the public API of real processes, which are killed at will; mails end in the outbox. */
  describe(`automations, ${deployment.name}`, () => {
    let system: TestSystem;
    let workspace: TestWorkspace;
    let templateId: string;
    before(async () => {
      system = await deploy(deployment);
      workspace = await TestWorkspace.create(system);
      templateId = await workspace.template({ subject: 'Hello {{ person.firstName }}', body: '<p>Hello</p>' });
    });
    after(() => system?.dispose());
    const track = (event: string, who: object, properties: object = {}) => ({ type: 'track', event, ...who, properties, timestamp: new Date().toISOString() });
    const customer = (userId: string) => ({ type: 'identify', userId, traits: { email: `${userId}@customer.example`, firstName: userId } });

    it('keeps what waits through kill -9 at any moment, and sends it once', { timeout: 120_000 }, async (t) => {
      const random = seeded((line) => t.diagnostic(line));
      const automationId = await workspace.automation('Policy Bought', templateId, { waitMs: 3_000 });
      for (let from = 0; from < PEOPLE; from += 20) {
        const ids = Array.from({ length: 20 }, (_, i) => `holder${from + i}`);
        const answer = await workspace.send(ids.flatMap((userId) => [customer(userId), track('Policy Bought', { userId })]));
        assert.equal(answer.status, 200);
      }
      for (let kill = 0; kill < KILLS; kill++) {
        await new Promise((resolve) => setTimeout(resolve, random.whole(1_000)));
        const host = system.hosts[random.whole(system.hosts.length)]!;
        await system.host(host).kill();
        await system.startHost(host);
      }
      const counts = await workspace.until(`/api/v1/automations/${automationId}/counts`, (c) => c.entered === PEOPLE && c.waiting === 0, 30_000);
      assert.deepEqual(counts, { entered: PEOPLE, waiting: 0, sent: PEOPLE, left: {}, turnedAway: 0 });
      const deliveries = await workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, (c) => c.audience === PEOPLE && c.pending === 0, 30_000);
      assert.equal(deliveries.sent + deliveries.uncertain, PEOPLE, JSON.stringify(deliveries));
    });

    it('turning off ends what waits, turning on begins anew', async () => {
      const automationId = await workspace.automation('Quote Asked', templateId, { waitMs: 3_600_000 });
      await workspace.send([customer('quinn'), track('Quote Asked', { userId: 'quinn' })]);
      await workspace.until(`/api/v1/agenda?automationId=${automationId}`, (agenda) => agenda.items.length === 1);
      const off = await workspace.ask('POST', `/api/v1/automations/${automationId}/disable`, {});
      assert.equal(off.enabled, false);
      assert.deepEqual((await workspace.ask('GET', `/api/v1/agenda?automationId=${automationId}`)).items, []);
      assert.deepEqual(await workspace.ask('GET', `/api/v1/automations/${automationId}/counts`), { entered: 1, waiting: 0, sent: 0, left: { turned_off: 1 }, turnedAway: 0 });
      await workspace.ask('POST', `/api/v1/automations/${automationId}/enable`, {});
      await workspace.send([track('Quote Asked', { userId: 'quinn' })]);
      await workspace.until(`/api/v1/automations/${automationId}/counts`, (c) => c.entered === 2 && c.waiting === 1);
    });

    it('follows somebody unknown until they say who they are', async () => {
      const automationId = await workspace.automation('Page Left', templateId, { waitMs: 2_000, reentry: { kind: 'once' } });
      await workspace.send([track('Page Left', { anonymousId: 'anon-1' })]);
      await workspace.until(`/api/v1/agenda?automationId=${automationId}`, (agenda) => agenda.items.length === 1);
      await workspace.send([{ ...customer('nora'), anonymousId: 'anon-1' }]);
      const counts = await workspace.until(`/api/v1/automations/${automationId}/counts`, (c) => c.sent === 1);
      assert.deepEqual([counts.entered, counts.waiting], [1, 0]);
      const { items } = await workspace.until(`/api/v1/deliveries?sourceId=${automationId}`, (page) => page.items[0]?.state === 'sent');
      assert.deepEqual(items.map((delivery: any) => delivery.to), ['nora@customer.example']);
    });

    it('lets somebody in once per period, and says how often it did not', async () => {
      const automationId = await workspace.automation('Claim Seen', templateId, { reentry: { kind: 'once_per', periodMs: 3_600_000 } });
      await workspace.send([customer('otto'), ...Array.from({ length: 5 }, () => track('Claim Seen', { userId: 'otto' }))]);
      const counts = await workspace.until(`/api/v1/automations/${automationId}/counts`, (c) => c.entered + c.turnedAway === 5);
      assert.deepEqual(counts, { entered: 1, waiting: 0, sent: 1, left: {}, turnedAway: 4 });
    });

    it('says where a rule is wrong and what to do', async () => {
      const rule = { event: 'x', when: { all: [{ field: 'event.a', op: 'gt', value: true }] }, waitMs: 0, still: null, send: { templateId, channel: 'email' }, reentry: { kind: 'once' } };
      const response = await fetch(`${workspace.url}/api/v1/automations`, {
        method: 'POST',
        headers: { authorization: `Bearer ${workspace.key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'wrong', rule }),
      });
      assert.equal(response.status, 400);
      const problem = (await response.json()) as { reason?: string };
      assert.match(JSON.stringify(problem), /rule_invalid/);
      assert.match(JSON.stringify(problem), /rule\.when\.all\[0\]\.value/);
    });
  });
}
