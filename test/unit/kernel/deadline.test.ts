import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { DeadlineWheel, TICK_MS } from '../../../src/kernel/deadline.ts';

function entry(): { slot: number; index: number; expire(): void; done: boolean } {
  const made = { slot: 0, index: -1, done: false, expire: () => void (made.done = true) };
  return made;
}

/** Time that passes by both clocks, and a wall clock that can be set. */
function heldTime(t: TestContext): { pass(ms: number): void; pause(ms: number): void; setClock(byMs: number): void } {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let steadyMs = 1_234.5;
  let offsetMs = 1_700_000_000_000;
  // Not by t.mock, which would remember every call.
  const { now: realSteady } = performance;
  const { now: realWall } = Date;
  t.after(() => Object.assign(performance, { now: realSteady }) && Object.assign(Date, { now: realWall }));
  performance.now = () => steadyMs;
  Date.now = () => Math.floor(steadyMs + offsetMs);
  return {
    pass(ms) {
      for (let passed = 0; passed < ms; passed += TICK_MS) {
        steadyMs += TICK_MS;
        t.mock.timers.tick(TICK_MS);
      }
    },
    pause: (ms) => void (steadyMs += ms),
    setClock: (byMs) => void (offsetMs += byMs),
  };
}

const HOUR_MS = 3_600_000;

describe('the deadline wheel', () => {
  it('expires each entry at its time, at most a few ticks late, in any order of adding', (t) => {
    const time = heldTime(t);
    const wheel = new DeadlineWheel();
    const entries = Array.from({ length: 500 }, (_, i) => {
      const one = { entry: entry(), at: Date.now() + ((i * 7919) % 30_000) };
      wheel.add(one.entry, one.at);
      return one;
    });
    for (let ms = 0; ms < 30_100; ms += TICK_MS) {
      time.pass(TICK_MS);
      for (const one of entries) {
        if (one.entry.done) assert.ok(Date.now() >= one.at, 'expired early');
        else assert.ok(Date.now() <= one.at + 2 * TICK_MS, 'expired late');
      }
    }
    assert.equal(wheel.size, 0);
  });

  it('forgets what is removed, however often, and lets its neighbours be', (t) => {
    const time = heldTime(t);
    const wheel = new DeadlineWheel();
    const [a, b, c] = [entry(), entry(), entry()];
    for (const one of [a, b, c]) wheel.add(one, Date.now() + 50);
    wheel.remove(a);
    wheel.remove(a);
    time.pass(100);
    assert.deepEqual([a.done, b.done, c.done, wheel.size], [false, true, true, 0]);
    wheel.remove(b);
    assert.equal(wheel.size, 0);
  });

  it('expires at the next tick what was due already, and what fell into a long pause', (t) => {
    const time = heldTime(t);
    const wheel = new DeadlineWheel();
    const [past, soon, later] = [entry(), entry(), entry()];
    wheel.add(past, Date.now() - 1_000);
    wheel.add(soon, Date.now() + 5_000);
    wheel.add(later, Date.now() + 60_000);
    time.pass(2 * TICK_MS);
    assert.deepEqual([past.done, soon.done], [true, false]);
    time.pause(30_000);
    time.pass(TICK_MS);
    assert.deepEqual([soon.done, later.done], [true, false]);
  });

  for (const [how, byMs] of [['an hour ahead', HOUR_MS], ['an hour back', -HOUR_MS], ['a second ahead', 1_000], ['a second back', -1_000]] as const) {
    it(`expires half a second after it was added when the clock is set ${how} before, between two ticks or after`, (t) => {
      const time = heldTime(t);
      const wheel = new DeadlineWheel();
      const [before, after] = [entry(), entry()];
      wheel.add(before, Date.now() + 500);
      time.pass(100);
      time.setClock(byMs);
      // No tick has seen the new time yet.
      wheel.add(after, Date.now() + 500);
      time.pass(390);
      assert.deepEqual([before.done, after.done], [false, false], 'ended early');
      time.pass(30);
      assert.deepEqual([before.done, after.done], [true, false], 'what was added before the clock was set');
      time.pass(60);
      assert.equal(after.done, false, 'ended early');
      time.pass(40);
      assert.equal(after.done, true, 'what was added after the clock was set');
    });
  }

  it('is not deceived by a loop that was held up: what is added during it has its whole time', (t) => {
    const time = heldTime(t);
    const wheel = new DeadlineWheel();
    const [first, second] = [entry(), entry()];
    wheel.add(first, Date.now() + 10_000);
    time.pause(2_000);
    wheel.add(second, Date.now() + 500);
    time.pass(490);
    assert.equal(second.done, false);
    time.pass(30);
    assert.deepEqual([first.done, second.done], [false, true]);
  });
});
