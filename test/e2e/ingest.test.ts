import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Analytics } from '@segment/analytics-node';
import { deploy, extremes } from '../support/deployments.ts';
import type { TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';

interface Events { items: { name: string; personId: string; properties: object; time: number }[] }
interface People { items: { personId: string; userId: string | null; email: string | null; timeZone: string | null; attributes: Record<string, unknown> }[] }

/** What the client does beside its promises: how often it really sent, and what it was told. */
function watch(analytics: Analytics) {
  const seen = { requests: [] as { body: string }[], statuses: [] as number[], errors: 0 };
  analytics.on('http_request', ({ body }) => void seen.requests.push({ body: String(body) }));
  analytics.on('http_response' as never, ((response: { status: number }) => void seen.statuses.push(response.status)) as never);
  analytics.on('error', () => void seen.errors++);
  return seen;
}

for (const deployment of extremes) {
  describe(`the unmodified @segment/analytics-node, ${deployment.name}`, () => {
    let system: TestSystem;
    let workspace: TestWorkspace;
    before(async () => {
      system = await deploy(deployment);
      workspace = await TestWorkspace.create(system);
    });
    after(() => system?.dispose());
    const client = (more: object = {}) => new Analytics({ writeKey: workspace.key, host: system.url, flushAt: 20, ...more });

    it('brings people and events of every kind', async () => {
      const analytics = client();
      const seen = watch(analytics);
      analytics.track({ anonymousId: 'visitor', event: 'Visited', properties: { from: 'ad' } });
      analytics.identify({ userId: 'ann', anonymousId: 'visitor', traits: { email: 'ann@customer.example', timezone: 'America/New_York', city: 'Zürich 🏔', tags: ['a'] } });
      analytics.page({ userId: 'ann', name: 'Pricing', properties: { url: 'https://agency.example/pricing' } });
      analytics.screen({ userId: 'ann', name: 'Home' });
      analytics.group({ userId: 'ann', groupId: 'acme', traits: { size: 5 } });
      analytics.alias({ userId: 'ann', previousId: 'ann-old' });
      analytics.track({ userId: 'ann-old', event: 'Paid', properties: { amount: 12.5 }, timestamp: new Date(Date.now() - 3_600_000) });
      await analytics.closeAndFlush();
      assert.deepEqual([seen.requests.length, seen.statuses, seen.errors], [1, [200], 0]);
      const { items } = await workspace.until<Events>('/api/v1/events', (answer) => answer.items.length >= 4);
      assert.deepEqual(items.map((event) => event.name).sort(), ['Home', 'Paid', 'Pricing', 'Visited']);
      const [ann] = (await workspace.ask('GET', '/api/v1/people?userId=ann') as People).items;
      assert.deepEqual([ann!.email, ann!.timeZone, ann!.attributes], ['ann@customer.example', 'America/New_York', { city: 'Zürich 🏔', tags: ['a'], groupId: 'acme' }]);
      const timeline = (await workspace.ask('GET', `/api/v1/people/${ann!.personId}/events`)) as Events;
      assert.equal(timeline.items.length, 4);
      const paid = items.find((event) => event.name === 'Paid')!;
      assert.ok(Math.abs(Date.now() - 3_600_000 - paid.time) < 60_000);
    });

    it('drops what is refused for good after one try, and hears why', async () => {
      const analytics = client({ writeKey: `ml_${'x'.repeat(43)}` });
      const seen = watch(analytics);
      analytics.track({ userId: 'u', event: 'Lost' });
      await analytics.closeAndFlush();
      assert.deepEqual([seen.requests.length, seen.statuses, seen.errors], [1, [401], 1]);
    });

    it('does not send a batch again for one bad item', async () => {
      const analytics = client();
      const seen = watch(analytics);
      analytics.track({ userId: 'u', event: 'Good beside bad' });
      analytics.track({ userId: 'u', event: 'Bad', timestamp: new Date('1970-01-01') });
      await analytics.closeAndFlush();
      assert.deepEqual([seen.requests.length, seen.statuses], [1, [200]]);
      const problems = await workspace.until('/api/v1/ingest/problems', (answer) => answer.items.some((item: { reason: string }) => item.reason === 'timestamp_out_of_range'));
      assert.match(problems.items[0].detail, /year 2000/);
      await workspace.until<Events>('/api/v1/events', (answer) => answer.items.some((event: { name: string }) => event.name === 'Good beside bad'));
    });

    it('counts once when the same request comes again, packed another way or by another path', async () => {
      const analytics = client();
      const seen = watch(analytics);
      analytics.track({ userId: 'u', event: 'Once' });
      await analytics.closeAndFlush();
      const { body } = seen.requests[0]!;
      for (const path of ['/v1/batch', '/v1/import']) {
        const reply = await fetch(`${system.url}${path}`, { method: 'POST', headers: { 'Content-Encoding': 'gzip' }, body: gzipSync(body) });
        assert.equal(reply.status, 200);
      }
      await workspace.send([{ type: 'track', userId: 'u', event: 'After' }]);
      const { items } = await workspace.until<Events>('/api/v1/events', (answer) => answer.items.some((event: { name: string }) => event.name === 'After'));
      assert.equal(items.filter((event) => event.name === 'Once').length, 1);
    });

    it('events sent while the portal is away arrive once, when it is back', async () => {
      const analytics = client({ flushAt: 1, maxRetries: 20 });
      const seen = watch(analytics);
      const send = (event: string) => new Promise<void>((resolve, reject) => analytics.track({ userId: 'patient', event }, (err) => (err === undefined ? resolve() : reject(err))));
      await send('Before');
      const portal = system.hostOf('portal');
      await system.host(portal).kill();
      const away = send('While away');
      await system.startHost(portal);
      await away;
      await analytics.closeAndFlush();
      assert.ok(seen.requests.length >= 2);
      const of = (answer: Events) => answer.items.map((event) => event.name).filter((event) => ['Before', 'While away'].includes(event));
      const events = await workspace.until<Events>('/api/v1/events', (answer) => of(answer).length >= 2);
      assert.deepEqual(of(events), ['While away', 'Before']);
    });
  });
}
