import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import type { Outcome } from '../../src/ports/bus.ts';
import { caller, keeper, onEachTransport, place } from '../support/bus-hosts.ts';
import { Arrivals, isEmpty, messageTo, queueOf, untilQueue, within } from '../support/buses.ts';
import { rejectsWith } from '../support/faults.ts';

onEachTransport('the host of the embedded bus goes and comes back', (transport) => {
  test('the host of the bus restarts: consumers and publishers go on by themselves', async (t) => {
    const at = place(t);
    const first = await keeper(t, at, transport);
    const bus = await caller(t, first.port, transport);
    await bus.declare(queueOf('q', { ordered: true }));
    const gate = Promise.withResolvers<Outcome>();
    const arrivals = new Arrivals(({ id }) => (id === 'slow' ? gate.promise : { kind: 'done' }));
    await bus.consume('q', { concurrency: 3 }, arrivals.handler);
    await bus.publish([messageTo('q', { id: 'slow', key: 'k' }), messageTo('q', { id: 'behind', key: 'k' }), messageTo('q', { id: 'quick' })]);
    await arrivals.count(2);
    await first.stop(300);
    const waiting = bus.declare(queueOf('later'));
    const second = await keeper(t, at, transport, { host: '127.0.0.1', port: first.port });
    await waiting;
    await bus.publish([messageTo('q', { id: 'after' })]);
    await arrivals.count(3);
    // The handler of before speaks for its message, which nobody handles a second time.
    await untilQueue(second.bus, 'q', ({ inFlight }) => inFlight === 1);
    gate.resolve({ kind: 'done' });
    await untilQueue(second.bus, 'q', isEmpty);
    assert.deepEqual(arrivals.ids, ['slow', 'quick', 'after', 'behind']);
  });

  test('a message whose handler has outlived its session is spoken for by it, whichever consumer it comes to', async (t) => {
    const at = place(t);
    const first = await keeper(t, at, transport);
    const bus = await caller(t, first.port, transport);
    await bus.declare(queueOf('q'));
    const gate = Promise.withResolvers<Outcome>();
    const arrivals = new Arrivals(({ id }) => (id === 'after' ? { kind: 'done' } : gate.promise));
    // The first consumer holds the second message, and the other way round; after the restart it will not be so.
    await bus.pause('q', 'w1');
    await bus.publish([messageTo('q', { id: 'a', workspace: 'w1' }), messageTo('q', { id: 'b', workspace: 'w2' })]);
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(1);
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await bus.resume('q', 'w1');
    await arrivals.count(2);
    await first.stop(100);
    const second = await keeper(t, at, transport, { host: '127.0.0.1', port: first.port });
    await untilQueue(second.bus, 'q', ({ inFlight }) => inFlight === 2);
    // They are on their way: whoever asks and is answered a few times has them by then.
    for (let trip = 0; trip < 5; trip++) await bus.inspect();
    await bus.publish([messageTo('q', { id: 'after' })]);
    gate.resolve({ kind: 'done' });
    await untilQueue(second.bus, 'q', isEmpty);
    assert.deepEqual(arrivals.ids, ['b', 'a', 'after']);
  });

  test('a host of the bus that has lost everything is told of the queues again', async (t) => {
    const first = await keeper(t, place(t), transport);
    const bus = await caller(t, first.port, transport);
    await bus.declare(queueOf('q'));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 3 }, arrivals.handler);
    await first.stop(100);
    const second = await keeper(t, place(t), transport, { host: '127.0.0.1', port: first.port });
    await within(10_000, (async () => { while (!(await second.bus.inspect()).some(({ consumers }) => consumers === 1)) await sleep(5); })(), () => 'the consumer did not come back');
    await second.bus.publish([messageTo('q', { id: 'new' })]);
    await arrivals.count(1);
  });

  test('declare and consume wait for the host of the bus; a publish is refused, and a stop ends the waiting', async (t) => {
    const at = place(t);
    const probe = await keeper(t, at, transport);
    await probe.stop(100);
    const bus = await caller(t, probe.port, transport);
    const declared = bus.declare(queueOf('q'));
    await rejectsWith('unavailable', bus.publish([messageTo('q')]));
    const second = await keeper(t, at, transport, { host: '127.0.0.1', port: probe.port });
    await within(10_000, declared, () => 'it was never declared');
    await bus.consume('q', { concurrency: 1 }, async () => ({ kind: 'done' }));
    await second.stop(100);
    const waiting = rejectsWith('unavailable', bus.declare(queueOf('other')), 'stopped');
    const began = performance.now();
    await bus.stop(1_000);
    await waiting;
    assert.ok(performance.now() - began < 2_500, `the stop took ${performance.now() - began} ms`);
  });
}, { atOnce: true });
