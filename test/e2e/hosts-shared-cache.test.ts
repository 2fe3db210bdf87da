import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { HostStatus } from '../../src/kernel/system.ts';
import { MailTraffic } from '../support/mail-traffic.ts';
import { memcachedServer } from '../support/memcached.ts';
import { redisServer } from '../support/redis.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestSystem } from '../support/topologies.ts';

const cacheServers = {
  memcached: { start: memcachedServer, at: (port: number) => ({ servers: [`127.0.0.1:${port}`] }) },
  redis: { start: redisServer, at: (port: number) => ({ port }) },
};

for (const [driver, { start, at }] of Object.entries(cacheServers)) {
  it(`hosts share ${driver}: it is used, outdated by what is published, and missed by nobody when it is frozen or gone`, { timeout: 120_000 }, async (t) => {
    const [server, cache] = await Promise.all([MailServer.start(), start()]);
    await cache.start();
    const rule = { cache: { entries: 1_000, shared: driver } };
    const system = await TestSystem.prepare(
      { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, calls: { portal: rule, notification: rule }, settings: { caches: { [driver]: { driver, ...at(cache.port) } } } },
      { env: { MULTILITH_SMTP_URL: server.url }, proxied: true },
    );
    t.after(async () => {
      await system.dispose();
      cache.thaw();
      await cache.kill();
      await server.stop();
    });
    await Promise.all(system.hosts.map((host) => system.startHost(host)));
    const traffic = await MailTraffic.over(system, server);
    const { workspace, templateId } = traffic;
    // As one host asks another.
    const figures = async (from: string, to: string) => {
      const answer = await fetch(`http://127.0.0.1:${system.port(from)}/contract/host/status`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
      const { edges } = (await answer.json()) as HostStatus;
      return edges.find((edge) => edge.to === to)!.cache!;
    };
    const publish = async (subject: string) => {
      await workspace.ask('PATCH', `/api/v1/templates/${templateId}`, { draft: { subject: `${subject} claim {{ event.number }}`, format: 'html', body: '<p>Hello</p>', text: null, from: null } });
      await workspace.ask('POST', `/api/v1/templates/${templateId}/publish`, {});
    };
    assert.match(await traffic.mail(), /^First claim/);

    await publish('Second');
    assert.match(await traffic.mail(), /^Second claim/);
    system.proxy('app').cut();
    system.proxy('mailer').cut();
    await publish('Third');
    assert.match(await traffic.mail(), /^Third claim/);

    const { items } = await workspace.ask('GET', `/api/v1/deliveries?sourceId=${traffic.automationId}`);
    // A busy machine lets a call run out of its time, which is answered as well.
    const track = async () => (await workspace.answer('GET', `/api/v1/deliveries/${items[0].deliveryId}`)).ok;
    const tracked = async (times: number) => {
      for (let left = times; left > 0; ) if (await track()) left--;
    };
    const before = await figures('app', 'notification');
    await tracked(5);
    const after = await figures('app', 'notification');
    assert.ok(after.hits + after.sharedHits - before.hits - before.sharedHits >= 4, JSON.stringify({ before, after }));
    assert.equal(after.sharedReachable, true);
    // Another process in the same place finds what the first one left, and knows before it is ready what its mails need.
    await system.host('mailer').stop();
    await system.startHost('mailer');
    const asked = async () => {
      const { hits, sharedHits, misses } = await figures('mailer', 'portal');
      return hits + sharedHits + misses;
    };
    const askedAtStart = await asked();
    assert.ok(askedAtStart > 0, 'its template was fetched');
    await system.healed();
    await traffic.mail();
    assert.equal(await asked(), askedAtStart, 'the first mail fetched none');

    const usualMs = await took(() => tracked(20));
    cache.freeze();
    const frozenMs = await took(() => tracked(20));
    assert.ok(frozenMs < 3_000 + 3 * usualMs, `20 requests took ${frozenMs} ms, and ${usualMs} ms before`);
    await publish('Fourth');
    assert.match(await traffic.mail(), /^Fourth claim/);
    cache.thaw();
    await cache.kill();
    await publish('Fifth');
    assert.match(await traffic.mail(), /^Fifth claim/);
    assert.equal((await figures('mailer', 'portal')).sharedReachable, false);
    await cache.start();
    while ((await figures('mailer', 'portal')).sharedReachable === false) await new Promise((resolve) => setTimeout(resolve, 50));
    await publish('Sixth');
    assert.match(await traffic.mail(), /^Sixth claim/);
    await traffic.addsUp();
  });
}

async function took(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}
