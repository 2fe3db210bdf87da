import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arrivals, isEmpty, messageTo, onEachBus, queueOf, stateOf, untilQueue } from '../../support/buses.ts';
import { rejectsWith } from '../../support/faults.ts';

onEachBus('pause', (under) => {
  test('a paused queue accepts and keeps; what is under way finishes; resume goes on', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const gate = Promise.withResolvers<void>();
    const arrivals = new Arrivals(async () => {
      await gate.promise;
      return { kind: 'done' };
    });
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await bus.publish([messageTo('q'), messageTo('q')]);
    await arrivals.count(1);
    await bus.pause('q');
    await bus.publish([messageTo('q', { notBefore: Date.now() + 5 })]);
    gate.resolve();
    const state = await untilQueue(bus, 'q', ({ inFlight, waiting }) => inFlight === 0 && waiting === 0);
    assert.deepEqual([state.paused, state.ready.normal, arrivals.messages.length], [true, 2, 1]);
    await bus.pause('q');
    await bus.resume('q');
    await arrivals.count(3);
    assert.equal((await untilQueue(bus, 'q', isEmpty)).paused, false);
  });

  test('a paused workspace waits alone, in every lane', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    await bus.pause('q', 'w1');
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 3 }, arrivals.handler);
    await bus.publish([messageTo('q'), messageTo('q', { lane: 'urgent' }), messageTo('q', { workspace: 'w2', id: 'b' }), messageTo('q', { workspace: null, id: 'c' })]);
    const state = await untilQueue(bus, 'q', ({ ready, inFlight }) => inFlight === 0 && ready.normal === 1);
    assert.deepEqual([arrivals.ids.toSorted(), state.ready.urgent, state.pausedWorkspaces, state.paused], [['b', 'c'], 1, ['w1'], false]);
    assert.ok(state.oldestMs !== null);
    await bus.resume('q', 'w1');
    await arrivals.count(4);
    assert.deepEqual((await untilQueue(bus, 'q', isEmpty)).pausedWorkspaces, []);
  });

  test('both kinds survive a restart', async (t) => {
    const place = under.place(t);
    const first = await under.open(t, place);
    await first.declare(queueOf('all'));
    await first.declare(queueOf('part'));
    await first.pause('all');
    await first.pause('part', 'w1');
    await first.publish([messageTo('all'), messageTo('part'), messageTo('part', { workspace: 'w2', id: 'b' })]);
    await first.stop(1_000);
    const second = await under.open(t, place);
    await second.declare(queueOf('all'));
    const [all, part] = [new Arrivals(), new Arrivals()];
    await second.consume('all', { concurrency: 2 }, all.handler);
    await second.consume('part', { concurrency: 2 }, part.handler);
    await untilQueue(second, 'part', ({ ready, inFlight }) => inFlight === 0 && ready.normal === 1);
    assert.deepEqual([all.ids, part.ids, (await stateOf(second, 'all')).paused, (await stateOf(second, 'part')).pausedWorkspaces], [[], ['b'], true, ['w1']]);
    await second.resume('all');
    await second.resume('part', 'w1');
    await all.count(1);
    await part.count(2);
  });

  test('a retry that becomes due in a paused workspace waits too', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const gate = Promise.withResolvers<void>();
    const arrivals = new Arrivals(async ({ attempt }) => {
      await gate.promise;
      return attempt === 1 ? { kind: 'retry', reason: 'once' } : { kind: 'done' };
    });
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await bus.publish([messageTo('q')]);
    await arrivals.count(1);
    await bus.pause('q', 'w1');
    gate.resolve();
    await untilQueue(bus, 'q', ({ ready, waiting, inFlight }) => waiting + inFlight === 0 && ready.normal === 1);
    assert.equal(arrivals.messages.length, 1);
    await bus.resume('q', 'w1');
    await arrivals.count(2);
  });

  test('of a queue that is not there, or a workspace that never sent', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    await rejectsWith('not_found', bus.pause('nowhere'));
    await rejectsWith('not_found', bus.resume('nowhere', 'w1'));
    await bus.resume('q', 'never');
    await bus.pause('q', 'never');
    assert.deepEqual((await stateOf(bus, 'q')).pausedWorkspaces, ['never']);
  });
});
