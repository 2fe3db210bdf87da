import assert from 'node:assert/strict';
import { it, type TestContext as Test } from 'node:test';
import { systemClock } from '../../../src/kernel/clock.ts';
import type { SharedCache } from '../../../src/ports/cache.ts';
import { cachedPantry, callAt, PantryCallee, itemOf } from '../../support/pantry.ts';
import { onEachSharedCache, until } from '../../support/shared-caches.ts';

/** One host: its cache, its connection to the shared tier, and how it asks. */
function host(t: Test, shared: SharedCache) {
  const callee = new PantryCallee();
  callee.auto = (request, call) => itemOf(request, call, callee.asked.length);
  const cache = cachedPantry(callee, systemClock, { shared });
  t.after(() => cache.close());
  return { callee, cache, get: (id = 'a') => cache.stub.get({ id }, callAt(Date.now())) };
}

/** A server takes what comes over one connection in its order: with this answer all that was stored before is there. */
async function everythingDone(shared: SharedCache): Promise<void> {
  await shared.get('whatever');
}

onEachSharedCache('hosts that share a cache', (under) => {
  it('ask the callee once between them', async (t) => {
    const { port } = await under.server(t);
    const shared = await under.open(t, port);
    const [one, two] = [host(t, shared), host(t, await under.open(t, port))];
    const answer = await one.get();
    await everythingDone(shared);
    assert.deepEqual(await two.get(), answer);
    assert.equal(two.callee.asked.length + one.callee.asked.length, 1);
  });

  it('do not share what was asked for before a drop and came after it', async (t) => {
    const { port } = await under.server(t);
    const shared = [await under.open(t, port), await under.open(t, port)] as const;
    const [one, two] = [host(t, shared[0]), host(t, shared[1])];
    two.callee.auto = undefined;
    const late = two.get();
    await until(() => two.callee.asked.length === 1);
    one.cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    await everythingDone(shared[0]);
    two.callee.last.answer({ version: 1 });
    await late;
    await everythingDone(shared[1]);
    const fresh = host(t, await under.open(t, port));
    await fresh.get();
    assert.equal(fresh.callee.asked.length, 1);
  });

  it('go on by asking the callee while the server is frozen, and when it was killed and is back', async (t) => {
    const server = await under.server(t);
    const shared = await under.open(t, server.port, { timeoutMs: 100, restMs: 200 });
    const one = host(t, shared);
    await one.get('a');
    server.freeze();
    const began = performance.now();
    for (let i = 0; i < 200; i++) await one.get(`frozen${i}`);
    const tookMs = performance.now() - began;
    assert.ok(tookMs < 5_000, `200 questions took ${tookMs} ms; the first may take its time-out`);
    server.thaw();
    await until(() => shared.reachable);
    await server.kill();
    for (let i = 0; i < 200; i++) await one.get(`killed${i}`);
    await server.start();
    await until(() => shared.reachable);
    await one.get('back');
    await everythingDone(shared);
    const two = host(t, await under.open(t, server.port));
    await two.get('back');
    assert.deepEqual([two.callee.asked.length, one.callee.asked.length], [0, 402]);
  });
});
