import assert from 'node:assert/strict';
import { test, type TestContext as Test } from 'node:test';
import type { Bus } from '../../../../../src/ports/bus.ts';
import { Arrivals, createBus, isEmpty, messageTo, queueOf, stateOf, untilQueue } from '../../../../support/buses.ts';
import { testContext } from '../../../../support/context.ts';
import { FakeClock } from '../../../../support/fake-clock.ts';

const HOUR = 3_600_000;

async function opened(t: Test): Promise<{ bus: Bus; clock: FakeClock }> {
  const clock = new FakeClock();
  const place = testContext({ clock });
  const bus = createBus('embedded', place);
  t.after(async () => {
    await bus.stop(1_000);
    place.remove();
  });
  await bus.start();
  return { bus, clock };
}

test('has one timer, set to the next due time, whatever waits', async (t) => {
  const { bus, clock } = await opened(t);
  await bus.declare(queueOf('q'));
  await bus.declare(queueOf('other', { delayMs: 2 * HOUR }));
  const arrivals = new Arrivals();
  await bus.consume('q', { concurrency: 5 }, arrivals.handler);
  const now = clock.now();
  await bus.publish([5, 30, 3, 9].map((hours) => messageTo('q', { id: `${hours}h`, notBefore: now + hours * HOUR })));
  await bus.publish([messageTo('other')]);
  await untilQueue(bus, 'q', ({ waiting }) => waiting === 4);
  await settled(bus);
  assert.equal(clock.pending, 1);
  await clock.advance(3 * HOUR - 1);
  await settled(bus);
  assert.deepEqual(arrivals.ids, []);
  await clock.advance(1);
  await arrivals.count(1);
  await untilQueue(bus, 'q', ({ inFlight }) => inFlight === 0);
  await settled(bus);
  assert.deepEqual([arrivals.ids, clock.pending, (await stateOf(bus, 'other')).ready.normal], [['3h'], 1, 1]);
});

test('an earlier message moves the timer forward', async (t) => {
  const { bus, clock } = await opened(t);
  await bus.declare(queueOf('q'));
  const arrivals = new Arrivals();
  await bus.consume('q', { concurrency: 5 }, arrivals.handler);
  await bus.publish([messageTo('q', { id: 'late', notBefore: clock.now() + 40_000 })]);
  await bus.publish([messageTo('q', { id: 'early', notBefore: clock.now() + 10_000 })]);
  await settled(bus);
  await clock.advance(10_000);
  await arrivals.count(1);
  await untilQueue(bus, 'q', ({ inFlight }) => inFlight === 0);
  await settled(bus);
  await clock.advance(29_999);
  await settled(bus);
  assert.deepEqual(arrivals.ids, ['early']);
  await clock.advance(1);
  await arrivals.count(2);
});

test('the waits between tries are those of the backoff, to the millisecond', async (t) => {
  const { bus, clock } = await opened(t);
  await bus.declare(queueOf('q', { attempts: 4, backoff: { firstMs: HOUR, factor: 3, mostMs: 5 * HOUR, jitter: 0 } }));
  const arrivals = new Arrivals(() => ({ kind: 'retry', reason: 'no' }));
  await bus.consume('q', { concurrency: 1 }, arrivals.handler);
  await bus.publish([messageTo('q')]);
  for (const [tries, hours] of [[1, 1], [2, 3], [3, 5]] as const) {
    await arrivals.count(tries);
    const { messages } = await waitingOf(bus);
    assert.equal(messages[0]!.due - clock.now(), hours * HOUR);
    await settled(bus);
    await clock.advance(hours * HOUR - 1);
    await settled(bus);
    assert.equal(arrivals.messages.length, tries);
    await clock.advance(1);
  }
  await untilQueue(bus, 'q', ({ dead }) => dead === 1);
  assert.ok(isEmpty(await stateOf(bus, 'q')));
});

async function waitingOf(bus: Bus): ReturnType<Bus['browse']> {
  await untilQueue(bus, 'q', ({ waiting }) => waiting === 1);
  return bus.browse('q', { dead: false, limit: 1 });
}

/** The bus has done what there was to do and has set its timer: this goes through the same transactions as everything else. */
async function settled(bus: Bus): Promise<void> {
  await bus.resume('q');
  await new Promise((resolve) => setImmediate(resolve));
}
