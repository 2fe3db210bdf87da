import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
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
