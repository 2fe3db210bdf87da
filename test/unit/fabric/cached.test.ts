import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Labels, Metrics } from '../../../src/kernel/telemetry.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { rejectsWith } from '../../support/faults.ts';
import { away, cachedPantry, callAt, itemOf, localCache, PantryCallee, pantryRig, SharedMap, TTL_MS } from '../../support/pantry.ts';

describe('a cached query', () => {
  it('is asked once, and answered from memory until its ttl is over', async () => {
    const { clock, callee, get } = pantryRig();
    assert.deepEqual([await get(), await get()], [1, 1]);
    await clock.advance(TTL_MS - 1);
    assert.equal(await get(), 1);
    await clock.advance(TTL_MS);
    assert.ok((await get()) > 1);
    assert.ok(callee.asked.length > 1);
  });

  it('counts its age from when it was asked, not from when it came', async () => {
    const { clock, callee, cache, call } = pantryRig();
    callee.auto = undefined;
    const first = cache.stub.getStrictly({ id: 'a' }, call());
    await clock.advance(1_500);
    callee.last.answer();
    await first;
    await clock.advance(TTL_MS - 1_500);
    void cache.stub.getStrictly({ id: 'a' }, call());
    assert.equal(callee.asked.length, 2);
  });

  it('leaves queries without a rule to the stub itself', async () => {
    const { callee, cache, call } = pantryRig();
    assert.equal(cache.stub.list, callee.stub.list);
    await cache.stub.list({ id: 'a' }, call());
    await cache.stub.list({ id: 'a' }, call());
    assert.equal(callee.asked.length, 2);
  });

  it('never answers one workspace with what another was told, whatever they are called', async () => {
    const { cache, call } = pantryRig();
    const names = ['w1', 'w2', '', 'w', '1:w', 'w1:a'];
    for (let twice = 0; twice < 2; twice++) {
      for (const workspace of names) {
        for (const id of ['a', ':a', '1:a']) assert.equal((await cache.stub.get({ id }, call({ workspace }))).workspace, workspace);
      }
    }
  });

  it('does not keep what is told to a call without a workspace', async () => {
    const { callee, get } = pantryRig();
    await get('a', { workspace: null });
    await get('a', { workspace: null });
    assert.equal(callee.asked.length, 2);
  });

  it('never gives the answer to another question that has the same key', async () => {
    const { callee, cache, call } = pantryRig();
    const ask = async (detail?: string) => (await cache.stub.get(detail === undefined ? { id: 'a' } : { id: 'a', detail }, call())).version;
    assert.deepEqual([await ask('x'), await ask('y'), await ask('y'), await ask()], [1, 2, 2, 3]);
    callee.auto = undefined;
    const both = [cache.stub.get({ id: 'b', detail: 'x' }, call()), cache.stub.get({ id: 'b', detail: 'y' }, call())];
    for (const asked of callee.asked.slice(-2)) asked.answer({ tags: [asked.request.detail!] });
    assert.deepEqual((await Promise.all(both)).map(({ tags }) => tags[0]), ['x', 'y']);
  });

  it('takes the same question for the same, whatever the order of its fields and with some left undefined', async () => {
    const { callee, cache, call } = pantryRig();
    await cache.stub.get({ id: 'a', detail: 'x' }, call());
    await cache.stub.get({ detail: 'x', id: 'a' }, call());
    await cache.stub.get({ id: 'b' }, call());
    await cache.stub.get({ id: 'b', detail: undefined } as never, call());
    assert.equal(callee.asked.length, 2);
  });

  it('leaves it to the callee to refuse a request that has no key', async () => {
    const { callee, cache, call } = pantryRig();
    callee.auto = () => {
      throw new Fault('invalid', 'Not a request.');
    };
    await rejectsWith('invalid', cache.stub.get(undefined as never, call()));
    await rejectsWith('invalid', cache.stub.get({ id: 1n } as never, call()));
    assert.equal(callee.asked.length, 2);
  });

  it('asks for what the caller asked, even when the caller changes it meanwhile', async () => {
    const clock = new FakeClock();
    const { cache, callee, call } = pantryRig({ shared: new SharedMap(clock) });
    const request = { id: 'a' };
    const answer = cache.stub.get(request, call());
    request.id = 'b';
    assert.equal((await answer).id, 'a');
    assert.equal(callee.last.request.id, 'a');
  });

  it('gives answers that nobody can change for the others', async () => {
    const { cache, call } = pantryRig();
    for (let i = 0; i < 2; i++) {
      const answer = await cache.stub.get({ id: 'a' }, call());
      assert.throws(() => answer.tags.push('b'), TypeError);
      assert.throws(() => void (answer.version = 7), TypeError);
    }
  });

  it('does not run a call that is over, not even from memory', async () => {
    const { clock, callee, cache, call } = pantryRig();
    await cache.stub.get({ id: 'a' }, call());
    const late = await rejectsWith('deadline', cache.stub.get({ id: 'a' }, call({ deadline: clock.now() })));
    const cancelled = await rejectsWith('cancelled', cache.stub.get({ id: 'b' }, call({ signal: AbortSignal.abort() })));
    assert.deepEqual([late.origin, cancelled.origin, callee.asked.length], ['unsent', 'unsent', 1]);
  });

  it('is not older than its ttl when the clock is set back', async () => {
    const callee = new PantryCallee();
    let now = Date.UTC(2026, 0, 1);
    const cache = cachedPantry(callee, { now: () => now, at: () => ({ cancel() {} }), after: () => ({ cancel() {} }) });
    callee.auto = (request, call) => itemOf(request, call);
    await cache.stub.get({ id: 'a' }, callAt(now));
    now -= 3_600_000;
    await cache.stub.get({ id: 'a' }, callAt(now));
    assert.equal(callee.asked.length, 2);
  });
});

describe('the counts of a cache', () => {
  it('say of each operation what became of its calls, and reach the metrics within a second', async () => {
    const samples: [string, number, Labels][] = [];
    const metrics: Metrics = { counter: (name) => ({ add: (amount = 1, labels = {}) => void samples.push([name, amount, labels]) }), histogram: () => ({ observe() {} }), gauge() {} };
    const { clock, callee, cache, call, get } = pantryRig({ metrics });
    for (let i = 0; i < 5; i++) await get();
    await cache.stub.getStrictly({ id: 'a' }, call());
    await clock.advance(TTL_MS);
    callee.auto = () => {
      throw away();
    };
    await get();
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    await rejectsWith('unavailable', get());
    const { entries, operations } = cache.stats();
    assert.deepEqual(operations, { get: { hit: 4, shared: 0, miss: 2, stale: 1, drop: 1 }, getStrictly: { hit: 0, shared: 0, miss: 1, stale: 0, drop: 1 } });
    assert.equal(entries, 0);
    await clock.advance(1_000);
    const sum = (name: string, labels: Labels) => samples.filter(([n, , l]) => n === name && Object.entries(labels).every(([k, v]) => l[k] === v)).reduce((all, [, amount]) => all + amount, 0);
    const answers = (outcome: string) => sum('multilith_cache_answers_total', { contract: 'pantry', method: 'get', outcome });
    assert.deepEqual([answers('hit'), answers('miss'), answers('stale'), sum('multilith_cache_drops_total', { method: 'get' })], [4, 2, 1, 1]);
    assert.equal(clock.pending, 0);
    await rejectsWith('unavailable', get());
    cache.close();
    assert.deepEqual([clock.pending, answers('miss')], [0, 3]);
  });

  it('hold no more than the local cache may', async () => {
    const { cache, get } = pantryRig({ local: localCache({ entries: 10 }) });
    for (let i = 0; i < 100; i++) await get(`item${i}`);
    assert.equal(cache.stats().entries, 10);
  });
});
