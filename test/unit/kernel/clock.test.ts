import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../../../src/kernel/clock.ts';

describe('the system clock', () => {
  it('waits longer than setTimeout can, and not a moment less', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    let fired = 0;
    const fortyDaysMs = 40 * 86_400_000;
    systemClock.at(Date.now() + fortyDaysMs, () => fired++);
    for (let passed = 0; passed < fortyDaysMs - 60_000; passed += 60_000) t.mock.timers.tick(60_000);
    assert.equal(fired, 0);
    t.mock.timers.tick(60_000);
    assert.equal(fired, 1);
  });

  it('pauses for as long as it was told, also when the wall clock is set back meanwhile', async (t) => {
    const paused = new Promise<void>((resolve) => systemClock.after(20, resolve));
    const { now } = Date;
    t.mock.method(Date, 'now', () => now() - 3_600_000);
    const began = performance.now();
    const late = new AbortController();
    await Promise.race([paused, pause(5_000, undefined, { signal: late.signal })]);
    late.abort();
    assert.ok(performance.now() - began < 4_000);
    let fired = false;
    systemClock.after(10, () => (fired = true)).cancel();
    await pause(30);
    assert.equal(fired, false);
  });

  it('fires what is past at once but never within the call, and not when cancelled', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    const fired: string[] = [];
    systemClock.at(Date.now() - 5_000, () => fired.push('past'));
    const timer = systemClock.at(Date.now() + 10, () => fired.push('cancelled'));
    assert.deepEqual(fired, []);
    timer.cancel();
    timer.cancel();
    t.mock.timers.tick(1_000);
    assert.deepEqual(fired, ['past']);
  });
});
