import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arrivals, isEmpty, messageTo, onEachBus, queueOf, stateOf, untilQueue } from '../../support/buses.ts';

onEachBus('delay', (under) => {
  test('a message does not come before its time, and soon after it', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const lateness: number[] = [];
    const due = new Map<string, number>();
    const arrivals = new Arrivals(({ id }) => {
      lateness.push(Date.now() - due.get(id)!);
      return { kind: 'done' };
    });
    await bus.consume('q', { concurrency: 10 }, arrivals.handler);
    const now = Date.now();
    const sent = Array.from({ length: 20 }, (_, i) => messageTo('q', { notBefore: now + 1_000 - i * 9 }));
    for (const { id, notBefore } of sent) due.set(id, notBefore!);
    await bus.publish(sent);
    assert.ok((await stateOf(bus, 'q')).waiting > 0);
    await arrivals.count(20);
    assert.ok(lateness.every((ms) => ms >= 0), `early by ${Math.min(...lateness)} ms`);
    // Woken, not polled: the backstop would come a minute later. A loaded machine may take its time.
    assert.ok(Math.max(...lateness) < 5_000, `late by ${Math.max(...lateness)} ms`);
    assert.equal(new Set(arrivals.ids).size, 20);
  });

  test('a time that has passed is now', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    await bus.publish([messageTo('q', { notBefore: Date.now() - 1_000 })]);
    assert.equal((await stateOf(bus, 'q')).ready.normal, 1);
  });

  test('a queue\'s own delay holds for every message', async (t) => {
    const bus = await under.open(t);
    // Long enough to be looked at meanwhile on a busy machine.
    await bus.declare(queueOf('q', { delayMs: 500 }));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    const began = performance.now();
    await bus.publish([messageTo('q'), messageTo('q')]);
    assert.equal((await stateOf(bus, 'q')).waiting, 2);
    await arrivals.count(2);
    assert.ok(performance.now() - began >= 498);
  });

  test('what became due while the bus was stopped comes after the start', async (t) => {
    const place = under.place(t);
    const first = await under.open(t, place);
    await first.declare(queueOf('q'));
    await first.publish([messageTo('q', { id: 'soon', notBefore: Date.now() + 5 }), messageTo('q', { id: 'later', notBefore: Date.now() + 200 })]);
    await first.stop(1_000);
    await new Promise((resolve) => setTimeout(resolve, 6));
    const second = await under.open(t, place);
    const arrivals = new Arrivals();
    await second.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(1);
    assert.deepEqual(arrivals.ids, ['soon']);
    await arrivals.count(2);
    await untilQueue(second, 'q', isEmpty);
  });

  test('thousands due at the same time all come', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 50 }, arrivals.handler);
    const notBefore = Date.now() + 150;
    await bus.publish(Array.from({ length: 3_000 }, () => messageTo('q', { notBefore })));
    await arrivals.count(3_000);
    await untilQueue(bus, 'q', isEmpty);
  });
});
