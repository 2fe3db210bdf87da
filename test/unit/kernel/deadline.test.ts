import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DeadlineWheel, TICK_MS } from '../../../src/kernel/deadline.ts';

function entry(): { slot: number; index: number; expire(): void; expired: Promise<number>; done: boolean } {
  let fire: (at: number) => void;
  const expired = new Promise<number>((resolve) => (fire = resolve));
  const made = { slot: 0, index: -1, done: false, expired, expire: () => { made.done = true; fire(Date.now()); } };
  return made;
}

describe('the deadline wheel', () => {
  it('expires each entry at its time, at most a few ticks late, in any order of adding', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval', 'Date'] });
    const wheel = new DeadlineWheel();
    const seed = Date.now();
    const times = Array.from({ length: 500 }, (_, i) => Date.now() + ((i * 7919 + seed) % 30_000));
    const entries = times.map((time) => {
      const one = entry();
      wheel.add(one, time);
      return { one, time };
    });
    for (let ms = 0; ms < 30_100; ms += TICK_MS) {
      t.mock.timers.tick(TICK_MS);
      for (const { one, time } of entries) {
        if (one.done) assert.ok(Date.now() >= time, 'expired early');
        else assert.ok(Date.now() <= time + 2 * TICK_MS, 'expired late');
      }
    }
    assert.equal(wheel.size, 0);
  });

  it('forgets what is removed, however often, and lets its neighbours be', (t) => {
    t.mock.timers.enable({ apis: ['setInterval', 'Date'] });
    const wheel = new DeadlineWheel();
    const [a, b, c] = [entry(), entry(), entry()];
    for (const one of [a, b, c]) wheel.add(one, Date.now() + 50);
    wheel.remove(a);
    wheel.remove(a);
    t.mock.timers.tick(100);
    assert.deepEqual([a.done, b.done, c.done, wheel.size], [false, true, true, 0]);
    wheel.remove(b);
    assert.equal(wheel.size, 0);
  });

  it('expires at the next tick what was due already, and what fell into a long pause', (t) => {
    t.mock.timers.enable({ apis: ['setInterval', 'Date'] });
    const wheel = new DeadlineWheel();
    const [past, soon, later] = [entry(), entry(), entry()];
    wheel.add(past, Date.now() - 1_000);
    wheel.add(soon, Date.now() + 5_000);
    wheel.add(later, Date.now() + 60_000);
    t.mock.timers.tick(TICK_MS * 2);
    assert.deepEqual([past.done, soon.done], [true, false]);
    t.mock.timers.setTime(Date.now() + 30_000);
    t.mock.timers.tick(TICK_MS);
    assert.deepEqual([soon.done, later.done], [true, false]);
  });
});
