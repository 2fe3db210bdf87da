import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Moment } from '../../../../../adapters/registry/zookeeper/moment.ts';
import { FakeClock } from '../../../../support/fake-clock.ts';

test('passes while the wall clock stands still', async () => {
  const moment = new Moment(new FakeClock());
  const began = performance.now();
  while (performance.now() - began < 20);
  assert.ok(moment.agoMs >= 20);
});

test('passes with the wall clock, as after a sleep of the machine', async () => {
  const clock = new FakeClock();
  const moment = new Moment(clock);
  await clock.advance(60_000);
  assert.ok(moment.agoMs >= 60_000);
});

test('is not undone by a wall clock that is set back', () => {
  let now = 1_000_000;
  const moment = new Moment({ now: () => now, at: () => ({ cancel() {} }), after: () => ({ cancel() {} }) });
  now = 0;
  assert.ok(moment.agoMs >= 0);
});
