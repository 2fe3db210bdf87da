import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Call } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Labels, Metrics } from '../../../src/kernel/telemetry.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { rejectsWith } from '../../support/faults.ts';
import { away, cachedPantry, callAt, itemOf, localCache, PantryCallee, SharedMap, STALE_MS, TIMEOUT_MS, TTL_MS } from '../../support/pantry.ts';

function rig(parts: Parameters<typeof cachedPantry>[2] = {}) {
  const clock = new FakeClock();
  const callee = new PantryCallee();
  const cache = cachedPantry(callee, clock, parts);
  let version = 0;
  const healthy = (request: { id: string }, call: Call) => itemOf(request, call, ++version);
  callee.auto = healthy;
  const call = (over: Parameters<typeof callAt>[1] = {}) => callAt(clock.now(), over);
  const get = async (id = 'a', over: Parameters<typeof callAt>[1] = {}) => (await cache.stub.get({ id }, call(over))).version;
  return { clock, callee, cache, call, get, healthy };
}

/** Every promise that can settle has. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('a cached query', () => {
  it('is asked once, and answered from memory until its ttl is over', async () => {
    const { clock, callee, get } = rig();
    assert.deepEqual([await get(), await get()], [1, 1]);
    await clock.advance(TTL_MS - 1);
    assert.equal(await get(), 1);
    await clock.advance(TTL_MS);
    assert.ok((await get()) > 1);
    assert.ok(callee.asked.length > 1);
  });

  it('counts its age from when it was asked, not from when it came', async () => {
    const { clock, callee, cache, call } = rig();
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
    const { callee, cache, call } = rig();
    assert.equal(cache.stub.list, callee.stub.list);
    await cache.stub.list({ id: 'a' }, call());
    await cache.stub.list({ id: 'a' }, call());
    assert.equal(callee.asked.length, 2);
  });

  it('never answers one workspace with what another was told, whatever they are called', async () => {
    const { cache, call } = rig();
    const names = ['w1', 'w2', '', 'w', '1:w', 'w1:a'];
    for (let twice = 0; twice < 2; twice++) {
      for (const workspace of names) {
        for (const id of ['a', ':a', '1:a']) assert.equal((await cache.stub.get({ id }, call({ workspace }))).workspace, workspace);
      }
    }
  });

  it('does not keep what is told to a call without a workspace', async () => {
    const { callee, get } = rig();
    await get('a', { workspace: null });
    await get('a', { workspace: null });
    assert.equal(callee.asked.length, 2);
  });

  it('never gives the answer to another question that has the same key', async () => {
    const { callee, cache, call } = rig();
    const ask = async (detail?: string) => (await cache.stub.get(detail === undefined ? { id: 'a' } : { id: 'a', detail }, call())).version;
    assert.deepEqual([await ask('x'), await ask('y'), await ask('y'), await ask()], [1, 2, 2, 3]);
    callee.auto = undefined;
    const both = [cache.stub.get({ id: 'b', detail: 'x' }, call()), cache.stub.get({ id: 'b', detail: 'y' }, call())];
    for (const asked of callee.asked.slice(-2)) asked.answer({ tags: [asked.request.detail!] });
    assert.deepEqual((await Promise.all(both)).map(({ tags }) => tags[0]), ['x', 'y']);
  });

  it('takes the same question for the same, whatever the order of its fields and with some left undefined', async () => {
    const { callee, cache, call } = rig();
    await cache.stub.get({ id: 'a', detail: 'x' }, call());
    await cache.stub.get({ detail: 'x', id: 'a' }, call());
    await cache.stub.get({ id: 'b' }, call());
    await cache.stub.get({ id: 'b', detail: undefined } as never, call());
    assert.equal(callee.asked.length, 2);
  });

  it('leaves it to the callee to refuse a request that has no key', async () => {
    const { callee, cache, call } = rig();
    callee.auto = () => {
      throw new Fault('invalid', 'Not a request.');
    };
    await rejectsWith('invalid', cache.stub.get(undefined as never, call()));
    await rejectsWith('invalid', cache.stub.get({ id: 1n } as never, call()));
    assert.equal(callee.asked.length, 2);
  });

  it('asks for what the caller asked, even when the caller changes it meanwhile', async () => {
    const clock = new FakeClock();
    const { cache, callee, call } = rig({ shared: new SharedMap(clock) });
    const request = { id: 'a' };
    const answer = cache.stub.get(request, call());
    request.id = 'b';
    assert.equal((await answer).id, 'a');
    assert.equal(callee.last.request.id, 'a');
  });

  it('gives answers that nobody can change for the others', async () => {
    const { cache, call } = rig();
    for (let i = 0; i < 2; i++) {
      const answer = await cache.stub.get({ id: 'a' }, call());
      assert.throws(() => answer.tags.push('b'), TypeError);
      assert.throws(() => void (answer.version = 7), TypeError);
    }
  });

  it('does not run a call that is over, not even from memory', async () => {
    const { clock, callee, cache, call } = rig();
    await cache.stub.get({ id: 'a' }, call());
    const late = await rejectsWith('deadline', cache.stub.get({ id: 'a' }, call({ deadline: clock.now() })));
    const cancelled = await rejectsWith('cancelled', cache.stub.get({ id: 'b' }, call({ signal: AbortSignal.abort() })));
    assert.deepEqual([late.origin, cancelled.origin, callee.asked.length], ['unsent', 'unsent', 1]);
  });

  it('is not older than its ttl when the clock is set back', async () => {
    const callee = new PantryCallee();
    let now = Date.UTC(2026, 0, 1);
    const cache = cachedPantry(callee, { now: () => now, at: () => ({ cancel() {} }) });
    callee.auto = (request, call) => itemOf(request, call);
    await cache.stub.get({ id: 'a' }, callAt(now));
    now -= 3_600_000;
    await cache.stub.get({ id: 'a' }, callAt(now));
    assert.equal(callee.asked.length, 2);
  });
});

describe('a question asked by many at once', () => {
  it('is one call for ten thousand', async () => {
    const { callee, cache, call } = rig();
    const answers = await Promise.all(Array.from({ length: 10_000 }, () => cache.stub.get({ id: 'a' }, call())));
    assert.equal(callee.asked.length, 1);
    assert.ok(answers.every((answer) => answer === answers[0]));
    assert.equal(cache.stats().operations.get!.miss, 10_000);
  });

  it('has the time of the operation, not of the one who asked first', async () => {
    const { clock, callee, cache, call } = rig();
    callee.auto = undefined;
    const hurried = rejectsWith('deadline', cache.stub.get({ id: 'a' }, call({ deadline: clock.now() + 50 })));
    const patient = cache.stub.get({ id: 'a' }, call());
    await clock.advance(50);
    await hurried;
    assert.equal(callee.last.call.deadline, clock.now() - 50 + TIMEOUT_MS);
    callee.last.answer({ version: 5 });
    assert.equal((await patient).version, 5);
    assert.equal(callee.asked.length, 1);
  });

  it('goes on for the others when one cancels, and for the next when one runs out of time', async () => {
    const { clock, callee, cache, call, get } = rig();
    callee.auto = undefined;
    const stop = new AbortController();
    const cancelled = rejectsWith('cancelled', cache.stub.get({ id: 'a' }, call({ signal: stop.signal })));
    const other = cache.stub.get({ id: 'a' }, call());
    stop.abort();
    await cancelled;
    assert.equal(callee.last.call.cancelSignal!.aborted, false);
    callee.last.answer({ version: 5 });
    assert.equal((await other).version, 5);

    const alone = rejectsWith('deadline', cache.stub.get({ id: 'b' }, call({ deadline: clock.now() + 50 })));
    await clock.advance(50);
    await alone;
    callee.last.answer({ version: 6 });
    await settled();
    assert.equal(await get('b'), 6);
  });

  it('is called off when all who waited have cancelled, and asked anew by the next', async () => {
    const { callee, cache, call } = rig();
    callee.auto = undefined;
    const stops = [new AbortController(), new AbortController()];
    const waiting = stops.map(({ signal }) => rejectsWith('cancelled', cache.stub.get({ id: 'a' }, call({ signal }))));
    for (const stop of stops) stop.abort();
    await Promise.all(waiting);
    assert.equal(callee.last.call.cancelSignal!.aborted, true);
    const next = cache.stub.get({ id: 'a' }, call());
    assert.equal(callee.asked.length, 2);
    callee.last.answer({ version: 9 });
    assert.equal((await next).version, 9);
  });

  it('is asked again for somebody who joined late and still has time when it fails', async () => {
    const { clock, callee, cache, call } = rig();
    callee.auto = undefined;
    const first = rejectsWith('deadline', cache.stub.get({ id: 'a' }, call()));
    await clock.advance(TIMEOUT_MS - 1);
    const late = cache.stub.get({ id: 'a' }, call());
    await clock.advance(1);
    callee.last.fail(new Fault('deadline', 'Too late.', { origin: 'lost' }));
    await first;
    await settled();
    assert.equal(callee.asked.length, 2);
    callee.last.answer({ version: 3 });
    assert.equal((await late).version, 3);
  });

  it('fails for all of them, and is not kept', async () => {
    const { callee, cache, call, get } = rig();
    const healthy = callee.auto;
    callee.auto = () => {
      throw new Fault('not_found', 'No such item.', { reason: 'item_not_found' });
    };
    await Promise.all(Array.from({ length: 3 }, () => rejectsWith('not_found', cache.stub.get({ id: 'a' }, call()), 'item_not_found')));
    assert.equal(callee.asked.length, 1);
    callee.auto = healthy;
    assert.equal(await get(), 1);
  });
});

describe('an answer near its end', () => {
  it('is asked for anew behind the back of whoever is given it, so that what is hot never misses', async () => {
    const { clock, callee, cache, get } = rig();
    await get();
    for (let second = 0; second < 300; second++) {
      await clock.advance(1_000);
      await get();
    }
    assert.equal(cache.stats().operations.get!.miss, 1);
    assert.ok(callee.asked.length <= 42, `${callee.asked.length} calls in 300 s with a ttl of 10 s`);
  });

  it('is asked for by one, a few times only when that fails, and nobody is told', async () => {
    const { clock, callee, get } = rig();
    await get();
    callee.auto = () => {
      throw away();
    };
    await clock.advance(TTL_MS * 0.75);
    for (let i = 0; i < 249; i++) {
      await Promise.all([get(), get(), get()]);
      await clock.advance(10);
    }
    assert.ok(callee.asked.length > 2 && callee.asked.length <= 6, `${callee.asked.length}`);
  });

  it('is dropped when the callee says that it is gone', async () => {
    const { clock, callee, cache, call, get } = rig();
    await get();
    callee.auto = () => {
      throw new Fault('not_found', 'No such item.', { reason: 'item_not_found' });
    };
    await clock.advance(TTL_MS * 0.8);
    assert.equal(await get(), 1);
    await settled();
    await rejectsWith('not_found', cache.stub.get({ id: 'a' }, call()));
  });
});

describe('an answer older than its ttl', () => {
  const outages: Readonly<Record<string, () => Fault>> = {
    'is unavailable': () => new Fault('unavailable', 'Overloaded.'),
    'was not reached': away,
    'did not answer in time': () => new Fault('deadline', 'Too late.', { origin: 'lost' }),
    'was lost while it answered': () => new Fault('internal', 'Cut.', { origin: 'lost' }),
  };
  for (const [what, fault] of Object.entries(outages)) {
    it(`stands in, for so long and no longer, when the callee ${what}`, async () => {
      const { clock, callee, cache, call, get } = rig();
      await get();
      await cache.stub.getStrictly({ id: 'a' }, call());
      callee.auto = () => {
        throw fault();
      };
      await clock.advance(TTL_MS);
      assert.equal(await get(), 1);
      await rejectsWith(fault().code, cache.stub.getStrictly({ id: 'a' }, call()));
      await clock.advance(STALE_MS - 1);
      assert.equal(await get(), 1);
      await clock.advance(1);
      await rejectsWith(fault().code, get());
      assert.equal(cache.stats().operations.get!.stale, 2);
    });
  }

  for (const code of ['not_found', 'internal', 'exhausted', 'denied'] as const) {
    it(`does not stand in when the callee answers ${code}`, async () => {
      const { clock, callee, get } = rig();
      await get();
      callee.auto = () => {
        throw new Fault(code, 'An answer.');
      };
      await clock.advance(TTL_MS);
      await rejectsWith(code, get());
    });
  }

  it('is not given while the callee is well, however slow', async () => {
    const { clock, callee, cache, call, get } = rig();
    await get();
    callee.auto = undefined;
    await clock.advance(TTL_MS);
    const patient = cache.stub.get({ id: 'a' }, call());
    const hurried = rejectsWith('deadline', cache.stub.get({ id: 'a' }, call({ deadline: clock.now() + 100 })));
    await clock.advance(TIMEOUT_MS - 1);
    await hurried;
    callee.last.answer({ version: 2 });
    assert.equal((await patient).version, 2);
  });

  it('makes nobody wait after the first failure, while one asks whether the callee is back', async () => {
    const { clock, callee, cache, get, healthy } = rig();
    await get();
    await clock.advance(TTL_MS);
    callee.auto = undefined;
    const first = get();
    await clock.advance(TIMEOUT_MS);
    callee.last.fail(new Fault('deadline', 'Too late.', { origin: 'lost' }));
    assert.equal(await first, 1);
    for (let i = 0; i < 180; i++) {
      assert.equal(await get(), 1);
      await clock.advance(10);
    }
    assert.equal(callee.asked.length, 3, 'one more is under way');
    callee.auto = healthy;
    callee.last.answer({ version: 7 });
    await settled();
    assert.equal(await get(), 7);
    assert.equal(cache.stats().operations.get!.stale, 181);
  });

  it('is not given at once when the failure was long ago', async () => {
    const { clock, callee, get } = rig();
    await get();
    await clock.advance(TTL_MS);
    const healthy = callee.auto;
    callee.auto = () => {
      throw away();
    };
    assert.equal(await get(), 1);
    callee.auto = healthy;
    await clock.advance(1_000);
    assert.equal(await get(), 2);
  });

  it('is not given when it was dropped', async () => {
    const { clock, callee, cache, get } = rig();
    await get();
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    await clock.advance(1);
    callee.auto = () => {
      throw away();
    };
    await rejectsWith('unavailable', get());
  });
});

describe('a drop', () => {
  it('takes out what an event names, in its workspace only', async () => {
    const { cache, get, callee } = rig();
    for (const [id, workspace] of [['a', 'w1'], ['b', 'w1'], ['a', 'w2']] as const) await get(id, { workspace });
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    cache.drop('pantry.item-changed', 'w1', { id: 'unheard-of' });
    cache.drop('pantry.something-else', 'w1', { id: 'b' });
    assert.deepEqual([await get('a'), await get('b'), await get('a', { workspace: 'w2' })], [4, 2, 3]);
    assert.equal(callee.asked.length, 4);
  });

  it('takes out every question under its key', async () => {
    const { cache, call, callee } = rig();
    await cache.stub.get({ id: 'a', detail: 'x' }, call());
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    await cache.stub.get({ id: 'a', detail: 'x' }, call());
    assert.equal(callee.asked.length, 2);
  });

  it('takes out everything when its event has no workspace, cannot be understood, or events were missed', async () => {
    const shots: ((cache: ReturnType<typeof rig>['cache']) => void)[] = [
      (cache) => cache.drop('pantry.item-changed', null, { id: 'other' }),
      (cache) => cache.drop('pantry.item-changed', 'w1', null),
      (cache) => cache.dropAll(),
    ];
    for (const shot of shots) {
      const { cache, get, callee } = rig();
      await get('a');
      await get('a', { workspace: 'w2' });
      shot(cache);
      await get('a');
      await get('a', { workspace: 'w2' });
      assert.equal(callee.asked.length, 4);
    }
  });

  it('happens with the reply to an own command, or when its fate is not known, and not when it was refused', async () => {
    const { cache, callee, call, get } = rig();
    assert.equal(await get(), 1);
    await cache.stub.put({ id: 'a' }, call());
    assert.equal(await get(), 3);
    callee.auto = () => Promise.reject(new Fault('conflict', 'No.'));
    await rejectsWith('conflict', cache.stub.put({ id: 'a' }, call()));
    assert.equal(await get(), 3);
    callee.auto = () => Promise.reject(new Fault('unavailable', 'Cut off.', { origin: 'lost' }));
    await rejectsWith('unavailable', cache.stub.put({ id: 'a' }, call()));
    const asked = callee.asked.length;
    await get().catch(() => {});
    assert.equal(callee.asked.length, asked + 1);
  });

  it('leaves those who were waiting with their answer, which nobody is given who asks after it', async () => {
    const { callee, cache, call } = rig();
    callee.auto = undefined;
    const before = cache.stub.get({ id: 'a' }, call());
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    const after = cache.stub.get({ id: 'a' }, call());
    assert.equal(callee.asked.length, 2);
    callee.asked[1]!.answer({ version: 2 });
    assert.equal((await after).version, 2);
    callee.asked[0]!.answer({ version: 1 });
    assert.equal((await before).version, 1);
    assert.equal((await cache.stub.get({ id: 'a' }, call())).version, 2);
  });

  it('holds for a refresh that had begun, and for dropping all', async () => {
    for (const shot of ['drop', 'dropAll'] as const) {
      const { clock, callee, cache, call, get } = rig();
      await get();
      await clock.advance(TTL_MS * 0.8);
      callee.auto = undefined;
      await get();
      const refresh = callee.last;
      if (shot === 'drop') cache.drop('pantry.item-changed', 'w1', { id: 'a' });
      else cache.dropAll();
      refresh.answer({ version: 2 });
      await settled();
      const after = cache.stub.get({ id: 'a' }, call());
      callee.last.answer({ version: 3 });
      assert.equal((await after).version, 3);
    }
  });

  it('is remembered, or thought to have been, however many come after it', async () => {
    const { callee, cache, call } = rig();
    callee.auto = undefined;
    const before = cache.stub.get({ id: 'a' }, call());
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    for (let i = 0; i < 20_000; i++) cache.drop('pantry.item-changed', 'w1', { id: `other${i}` });
    callee.last.answer({ version: 1 });
    await before;
    void cache.stub.get({ id: 'a' }, call());
    assert.equal(callee.asked.length, 2);
  });
});

describe('the counts of a cache', () => {
  it('say of each operation what became of its calls, and reach the metrics within a second', async () => {
    const samples: [string, number, Labels][] = [];
    const metrics: Metrics = { counter: (name) => ({ add: (amount = 1, labels = {}) => void samples.push([name, amount, labels]) }), histogram: () => ({ observe() {} }), gauge() {} };
    const { clock, callee, cache, call, get } = rig({ metrics });
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
    const { cache, get } = rig({ local: localCache({ entries: 10 }) });
    for (let i = 0; i < 100; i++) await get(`item${i}`);
    assert.equal(cache.stats().entries, 10);
  });
});
