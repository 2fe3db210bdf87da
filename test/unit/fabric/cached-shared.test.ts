import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Call } from '../../../src/kernel/call.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { cachedPantry, callAt, itemOf, PantryCallee, settled, SharedMap, TIMEOUT_MS, TTL_MS } from '../../support/pantry.ts';

function hosts() {
  const clock = new FakeClock();
  const shared = new SharedMap(clock);
  let version = 0;
  const healthy = (request: { id: string }, call: Call) => itemOf(request, call, ++version);
  const start = () => {
    const callee = new PantryCallee();
    callee.auto = healthy;
    const cache = cachedPantry(callee, clock, { shared });
    const get = async (id = 'a', over: Parameters<typeof callAt>[1] = {}) => (await cache.stub.get({ id }, callAt(clock.now(), over))).version;
    return { callee, cache, get };
  };
  return { clock, shared, healthy, start };
}

const changed = 'pantry.item-changed';

describe('the shared tier of a cache', () => {
  it('gives one host what another has asked for, as old as it is', async () => {
    const { clock, start } = hosts();
    const one = start();
    const two = start();
    await one.get();
    await clock.advance(TTL_MS * 0.5);
    assert.deepEqual([await two.get(), await two.get(), two.callee.asked.length], [1, 1, 0]);
    assert.deepEqual(two.cache.stats().operations.get, { hit: 1, shared: 1, miss: 0, stale: 0, drop: 0 });
    await clock.advance(TTL_MS * 0.5);
    assert.equal(await two.get(), 2);
  });

  it('keeps workspaces apart', async () => {
    const { start } = hosts();
    await start().get('a', { workspace: 'w1' });
    assert.equal(await start().get('a', { workspace: 'w2' }), 2);
  });

  it('is not asked, and not told, while it is away', async () => {
    const { shared, start } = hosts();
    shared.reachable = false;
    const one = start();
    await one.get();
    one.cache.drop(changed, 'w1', { id: 'b' });
    await settled();
    assert.equal(shared.texts.size, 0);
    shared.reachable = true;
    const two = start();
    assert.equal(await two.get(), 2);
  });

  it('lets the first host that asks anew do so for all', async () => {
    const { clock, start } = hosts();
    const [one, two] = [start(), start()];
    assert.deepEqual([await one.get(), await two.get()], [1, 1]);
    await clock.advance(TTL_MS * 0.8);
    await one.get();
    await settled();
    await two.get();
    await settled();
    assert.deepEqual([await one.get(), await two.get()], [2, 2]);
    assert.equal(two.callee.asked.length, 0);
  });

  it('is not taken for news when it has what the host has itself', async () => {
    const { clock, shared, start } = hosts();
    const one = start();
    await one.get();
    // Servers keep what they are given a little longer than they were asked to.
    for (const [key, { text }] of shared.texts) shared.texts.set(key, { text, until: clock.now() + TTL_MS });
    await clock.advance(TTL_MS * 0.8);
    await one.get();
    await settled();
    assert.equal(await one.get(), 2);
  });

  it('is not believed when it gives another entry, another question, what the contract forbids, or no sense', async () => {
    const { clock, shared, start } = hosts();
    await start().get();
    const [key, { text }] = [...shared.texts][0]!;
    const record = JSON.parse(text) as { value: object };
    const lies = [
      '', 'dropped', 'null', '1', '{', '[]', '{}', text.slice(1),
      JSON.stringify({ ...record, key: key.replace('w1', 'w2') }),
      JSON.stringify({ ...record, request: { id: 'b' } }),
      JSON.stringify({ ...record, value: { ...record.value, version: 'one' } }),
      JSON.stringify({ ...record, value: undefined }),
      JSON.stringify({ ...record, askedAt: undefined }),
      JSON.stringify({ ...record, askedAt: clock.now() - TTL_MS }),
      JSON.stringify({ ...record, askedAt: clock.now() + 1_001 }),
    ];
    for (const [at, lie] of lies.entries()) {
      shared.texts.set(key, { text: lie, until: clock.now() + TTL_MS });
      assert.equal(await start().get(), at + 2, lie);
    }
    shared.texts.set(key, { text, until: clock.now() + TTL_MS });
    assert.equal(await start().get(), 1, 'the truth is believed');
  });

  it('is not given an answer that another host had asked for before a drop that it had not heard of', async () => {
    const { clock, start, healthy } = hosts();
    const [one, two] = [start(), start()];
    two.callee.auto = undefined;
    const late = two.get();
    await settled();
    one.cache.drop(changed, 'w1', { id: 'a' });
    await clock.advance(TIMEOUT_MS - 1);
    two.callee.last.answer(healthy({ id: 'a' }, two.callee.last.call));
    assert.equal(await late, 1);
    assert.equal(await start().get(), 2, 'a host that knows nothing of the drop either');
  });

  it('is not given an answer from before a drop whose mark it never got', async () => {
    const { shared, start } = hosts();
    const one = start();
    one.callee.auto = undefined;
    const early = one.get();
    await settled();
    shared.reachable = false;
    one.cache.drop(changed, 'w1', { id: 'a' });
    shared.reachable = true;
    one.callee.last.answer({ version: 1 });
    await early;
    await settled();
    assert.equal([...shared.texts.values()].length, 0);
  });

  it('is not given an answer that comes so late that the mark of a drop may be gone', async () => {
    const { clock, shared, start } = hosts();
    const one = start();
    one.callee.auto = undefined;
    const late = one.get();
    await settled();
    await clock.advance(TIMEOUT_MS + 1_000);
    one.callee.last.answer({ version: 1 });
    await late;
    await settled();
    assert.equal(shared.texts.size, 0);
  });

  it('is not believed about what a host knows to have been dropped, even when the mark was lost', async () => {
    for (const shot of ['drop', 'dropAll'] as const) {
      const { clock, shared, start } = hosts();
      const [one, two] = [start(), start()];
      await one.get();
      shared.reachable = false;
      if (shot === 'drop') two.cache.drop(changed, 'w1', { id: 'a' });
      else two.cache.dropAll();
      shared.reachable = true;
      await clock.advance(2_000);
      assert.equal(await two.get(), 2);
    }
  });

  it('is told of a drop by the host that makes it', async () => {
    const { start } = hosts();
    const [one, two] = [start(), start()];
    await one.get();
    two.cache.drop(changed, 'w1', { id: 'a' });
    await settled();
    assert.equal(await start().get(), 2);
  });
});
