import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import { rejectsWith } from '../../support/faults.ts';
import { pantryRig, settled, TTL_MS } from '../../support/pantry.ts';

describe('a drop', () => {
  it('takes out what an event names, in its workspace only', async () => {
    const { cache, get, callee } = pantryRig();
    for (const [id, workspace] of [['a', 'w1'], ['b', 'w1'], ['a', 'w2']] as const) await get(id, { workspace });
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    cache.drop('pantry.item-changed', 'w1', { id: 'unheard-of' });
    cache.drop('pantry.something-else', 'w1', { id: 'b' });
    assert.deepEqual([await get('a'), await get('b'), await get('a', { workspace: 'w2' })], [4, 2, 3]);
    assert.equal(callee.asked.length, 4);
  });

  it('takes out every question under its key', async () => {
    const { cache, call, callee } = pantryRig();
    await cache.stub.get({ id: 'a', detail: 'x' }, call());
    cache.drop('pantry.item-changed', 'w1', { id: 'a' });
    await cache.stub.get({ id: 'a', detail: 'x' }, call());
    assert.equal(callee.asked.length, 2);
  });

  it('takes out everything when its event has no workspace, cannot be understood, or events were missed', async () => {
    const shots: ((cache: ReturnType<typeof pantryRig>['cache']) => void)[] = [
      (cache) => cache.drop('pantry.item-changed', null, { id: 'other' }),
      (cache) => cache.drop('pantry.item-changed', 'w1', null),
      (cache) => cache.dropAll(),
    ];
    for (const shot of shots) {
      const { cache, get, callee } = pantryRig();
      await get('a');
      await get('a', { workspace: 'w2' });
      shot(cache);
      await get('a');
      await get('a', { workspace: 'w2' });
      assert.equal(callee.asked.length, 4);
    }
  });

  it('happens with the reply to an own command, or when its fate is not known, and not when it was refused', async () => {
    const { cache, callee, call, get } = pantryRig();
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
    const { callee, cache, call } = pantryRig();
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
      const { clock, callee, cache, call, get } = pantryRig();
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
    const { callee, cache, call } = pantryRig();
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
