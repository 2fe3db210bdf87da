import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import { rejectsWith } from '../../support/faults.ts';
import { pantryRig, settled, TIMEOUT_MS, TTL_MS } from '../../support/pantry.ts';

describe('a question asked by many at once', () => {
  it('is one call for ten thousand', async () => {
    const { callee, cache, call } = pantryRig();
    const answers = await Promise.all(Array.from({ length: 10_000 }, () => cache.stub.get({ id: 'a' }, call())));
    assert.equal(callee.asked.length, 1);
    assert.ok(answers.every((answer) => answer === answers[0]));
    assert.equal(cache.stats().operations.get!.miss, 10_000);
  });

  it('has the time of the operation, not of the one who asked first', async () => {
    const { clock, callee, cache, call } = pantryRig();
    callee.auto = undefined;
    const hurried = rejectsWith('deadline', cache.stub.get({ id: 'a' }, call({ deadline: clock.now() + 50 })));
    const patient = cache.stub.get({ id: 'a' }, call());
    await clock.advance(50);
    await hurried;
    assert.ok(callee.last.call.deadline >= clock.now() - 50 + TIMEOUT_MS);
    callee.last.answer({ version: 5 });
    assert.equal((await patient).version, 5);
    assert.equal(callee.asked.length, 1);
  });

  it('waits with its callee for a module that is being started, as long as those who ask have time, and is one call all the while', async () => {
    const { clock, callee, cache, call, get, healthy } = pantryRig();
    callee.auto = undefined;
    const answers = [cache.stub.get({ id: 'a' }, call())];
    const hurried = rejectsWith('deadline', cache.stub.get({ id: 'a' }, call({ deadline: clock.now() + TIMEOUT_MS + 500 })));
    await clock.advance(TIMEOUT_MS + 1_000);
    await hurried;
    answers.push(cache.stub.get({ id: 'a' }, call()));
    await clock.advance(3_000);
    assert.ok(callee.last.call.deadline > clock.now());
    callee.last.answer({ version: 5 });
    assert.deepEqual((await Promise.all(answers)).map(({ version }) => version), [5, 5]);
    assert.equal(callee.asked.length, 1);

    // A drop in between may have been forgotten by then.
    callee.auto = healthy;
    await get('a');
    assert.equal(callee.asked.length, 2);
  });

  it('does not wait for a module that is being started when there is a stale answer to give', async () => {
    const { clock, callee, cache, call, get } = pantryRig();
    await get('a');
    await clock.advance(TTL_MS);
    callee.auto = undefined;
    void cache.stub.get({ id: 'a' }, call());
    assert.equal(callee.last.call.deadline, clock.now() + TIMEOUT_MS);
    callee.last.answer();
  });

  it('goes on for the others when one cancels, and for the next when one runs out of time', async () => {
    const { clock, callee, cache, call, get } = pantryRig();
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
    const { callee, cache, call } = pantryRig();
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
    const { clock, callee, cache, call } = pantryRig();
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
    const { callee, cache, call, get } = pantryRig();
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
