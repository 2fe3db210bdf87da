import assert from 'node:assert/strict';
import { describe, it, type TestContext as Test } from 'node:test';
import { sharedCacheDrivers } from '../../../adapters/cache/catalog.ts';
import { expiryOf } from '../../../adapters/cache/memcached/memcached-cache.ts';
import { memcachedServer } from '../../support/memcached.ts';
import type { ServerProcess } from '../../support/server-process.ts';
import { sharedCacheUnderTest, until } from '../../support/shared-caches.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const under = sharedCacheUnderTest('memcached');
const keys = Array.from({ length: 100 }, (_, at) => `key${at}`);

async function running(t: Test): Promise<ServerProcess> {
  const server = await memcachedServer();
  t.after(() => server.kill());
  return server.start();
}

describe('several memcached servers', () => {
  it('each have some of the keys, the same for every host, and only theirs are missed while one is away', async (t) => {
    const [one, two] = [await running(t), await running(t)];
    const settings = { servers: [`127.0.0.1:${one.port}`, `127.0.0.1:${two.port}`], timeoutMs: 200, restMs: 200 };
    const [mine, yours] = [await under.open(t, 0, settings), await under.open(t, 0, settings)];
    await Promise.all(keys.map((key) => mine.set(key, key, MINUTE_MS)));
    const found = async () => (await Promise.all(keys.map((key) => yours.get(key)))).filter((value) => value !== undefined).length;
    assert.equal(await found(), 100);
    await two.kill();
    const left = await found();
    assert.ok(left > 20 && left < 80, `${left} of 100`);
    assert.equal(yours.reachable, true);
    await one.kill();
    assert.equal(await found(), 0);
    await until(() => !yours.reachable);
  });
});

describe('the address of a memcached server', () => {
  it('has a host and a port that there is', () => {
    const takes = (server: string): boolean => sharedCacheDrivers.memcached.settings.safeParse({ servers: [server] }).success;
    assert.deepEqual(['cache:11211', '10.0.0.1:1', '[::1]:65535'].map(takes), [true, true, true]);
    assert.deepEqual(['cache', 'cache:', ':11211', 'cache:0', 'cache:65536', '::1:11211', 'a b:1', ''].map(takes), Array.from({ length: 8 }, () => false));
  });
});

describe('an expiry for memcached', () => {
  it('is whole seconds, never for ever, and seconds since 1970 beyond thirty days', () => {
    const now = Date.UTC(2026, 0, 1);
    assert.deepEqual([1, 999, 1_000, 1_001, 5_000].map((ms) => expiryOf(ms, now)), [2, 2, 2, 3, 6]);
    assert.equal(expiryOf(30 * DAY_MS - 1_000, now), 30 * 86_400);
    assert.equal(expiryOf(30 * DAY_MS, now), now / 1_000 + 30 * 86_400 + 1);
    assert.equal(expiryOf(Number.MAX_SAFE_INTEGER, now), 2 ** 32 - 1);
  });
});
