import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import { rejectsWith } from '../../support/faults.ts';
import { away, pantryRig, settled, STALE_MS, TIMEOUT_MS, TTL_MS } from '../../support/pantry.ts';

describe('an answer near its end', () => {
  it('is asked for anew behind the back of whoever is given it, so that what is hot never misses', async () => {
    const { clock, callee, cache, get } = pantryRig();
    await get();
    for (let second = 0; second < 300; second++) {
      await clock.advance(1_000);
      await get();
    }
    assert.equal(cache.stats().operations.get!.miss, 1);
    assert.ok(callee.asked.length <= 42, `${callee.asked.length} calls in 300 s with a ttl of 10 s`);
  });

  it('is asked for by one, a few times only when that fails, and nobody is told', async () => {
    const { clock, callee, get } = pantryRig();
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
    const { clock, callee, cache, call, get } = pantryRig();
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
      const { clock, callee, cache, call, get } = pantryRig();
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
      const { clock, callee, get } = pantryRig();
      await get();
      callee.auto = () => {
        throw new Fault(code, 'An answer.');
      };
      await clock.advance(TTL_MS);
      await rejectsWith(code, get());
    });
  }

  it('is not given while the callee is well, however slow', async () => {
    const { clock, callee, cache, call, get } = pantryRig();
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
    const { clock, callee, cache, get, healthy } = pantryRig();
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
    const { clock, callee, get } = pantryRig();
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
    const { clock, callee, cache, get } = pantryRig();
    await get();
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    await clock.advance(1);
    callee.auto = () => {
      throw away();
    };
    await rejectsWith('unavailable', get());
  });
});
