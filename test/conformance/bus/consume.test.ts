import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import type { Consumer, Outcome } from '../../../src/ports/bus.ts';
import { Arrivals, isEmpty, messageTo, onEachBus, queueOf, stateOf, untilQueue, within } from '../../support/buses.ts';
import { rejectsWith } from '../../support/faults.ts';
import { seeded } from '../../support/seed.ts';

onEachBus('consume', (under) => {
  test('gives each message to one owner at a time, however consumers, retries and stops interleave', async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { attempts: 50 }));
    const owned = new Set<string>();
    const done = new Map<string, number>();
    const attempts = new Map<string, number>();
    const handler = async ({ id, attempt }: { id: string; attempt: number }): Promise<Outcome> => {
      assert.ok(!owned.has(id), 'two owners at once');
      assert.equal(attempt, (attempts.get(id) ?? 0) + 1);
      attempts.set(id, attempt);
      owned.add(id);
      if (random.whole(2) === 0) await sleep(random.whole(3));
      owned.delete(id);
      if (random.whole(5) === 0) return { kind: 'retry', reason: 'chance' };
      done.set(id, (done.get(id) ?? 0) + 1);
      return { kind: 'done' };
    };
    const sent: string[] = [];
    const consumers: Consumer[] = [];
    for (let round = 0; round < 20; round++) {
      const batch = Array.from({ length: 1 + random.whole(60) }, () => messageTo('q', { workspace: `w${random.whole(4)}` }));
      sent.push(...batch.map((m) => m.id));
      await bus.publish(batch);
      if (consumers.length < 4 && random.whole(5) < 3) consumers.push(await bus.consume('q', { concurrency: 1 + random.whole(20) }, handler));
      else if (consumers.length > 1) await consumers.splice(random.whole(consumers.length), 1)[0]!.stop(1_000);
    }
    if (consumers.length === 0) await bus.consume('q', { concurrency: 5 }, handler);
    await untilQueue(bus, 'q', isEmpty);
    assert.deepEqual([...done.keys()].toSorted(), sent.toSorted());
    assert.ok([...done.values()].every((times) => times === 1));
  });

  test('never runs more handlers than the consumer\'s concurrency, and uses all of it', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    let running = 0;
    let most = 0;
    const arrivals = new Arrivals(async () => {
      most = Math.max(most, ++running);
      await sleep(1);
      running--;
      return { kind: 'done' };
    });
    await bus.consume('q', { concurrency: 7 }, arrivals.handler);
    await bus.publish(Array.from({ length: 100 }, () => messageTo('q')));
    await arrivals.count(100);
    assert.equal(most, 7);
  });

  test('wakes an idle consumer at once', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    const delays: number[] = [];
    for (let i = 1; i <= 30; i++) {
      const began = performance.now();
      await bus.publish([messageTo('q')]);
      await arrivals.count(i);
      delays.push(performance.now() - began);
      await untilQueue(bus, 'q', isEmpty);
    }
    const median = delays.toSorted((a, b) => a - b)[15]!;
    assert.ok(median < 500, `half of them took ${median} ms or longer`);
  });

  test('refuses a queue that nobody declared', async (t) => {
    const bus = await under.open(t);
    await rejectsWith('not_found', bus.consume('nowhere', { concurrency: 1 }, async () => ({ kind: 'done' })), 'queue_not_found');
  });

  test('lets a handler publish', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('first'));
    await bus.declare(queueOf('second'));
    const arrivals = new Arrivals();
    await bus.consume('second', { concurrency: 10 }, arrivals.handler);
    await bus.consume('first', { concurrency: 10 }, async ({ id }) => {
      await bus.publish([messageTo('second', { id: `${id}-2` })]);
      return { kind: 'done' };
    });
    await bus.publish(Array.from({ length: 50 }, () => messageTo('first')));
    await arrivals.count(50);
  });

  test('stop takes nothing new, waits for what is under way, and leaves the rest', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const gate = Promise.withResolvers<void>();
    const arrivals = new Arrivals(async () => {
      await gate.promise;
      return { kind: 'done' };
    });
    const consumer = await bus.consume('q', { concurrency: 2 }, arrivals.handler);
    await bus.publish(Array.from({ length: 5 }, () => messageTo('q')));
    await arrivals.count(2);
    const stopped = consumer.stop(5_000);
    await bus.publish([messageTo('q')]);
    gate.resolve();
    await stopped;
    await consumer.stop(5_000);
    assert.equal(arrivals.messages.length, 2);
    const { ready, inFlight, consumers } = await stateOf(bus, 'q');
    assert.deepEqual([ready.normal, inFlight, consumers], [4, 0, 0]);
  });

  test('stop gives back what hangs at the deadline; its late outcome does not count', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const gate = Promise.withResolvers<Outcome>();
    const hanging = new Arrivals(() => gate.promise);
    const consumer = await bus.consume('q', { concurrency: 1 }, hanging.handler);
    await bus.publish([messageTo('q', { id: 'm' })]);
    await hanging.count(1);
    await within(1_000, consumer.stop(30), () => 'stop waited for the hanging handler');
    // Over a link, word of it may be on its way still.
    const { ready } = await untilQueue(bus, 'q', ({ inFlight }) => inFlight === 0);
    assert.equal(ready.normal, 1);
    const second = new Arrivals(async () => {
      gate.resolve({ kind: 'dead', reason: 'too late to matter' });
      await sleep(10);
      return { kind: 'done' };
    });
    await bus.consume('q', { concurrency: 1 }, second.handler);
    await second.count(1);
    assert.deepEqual([second.messages[0]!.id, second.messages[0]!.attempt], ['m', 2]);
    assert.equal((await untilQueue(bus, 'q', isEmpty)).dead, 0);
  });

  test('a hanging handler holds up its own slot only', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const arrivals = new Arrivals(({ id }) => (id === 'hangs' ? new Promise<never>(() => {}) : { kind: 'done' }));
    await bus.consume('q', { concurrency: 2 }, arrivals.handler);
    await bus.publish([messageTo('q', { id: 'hangs' }), ...Array.from({ length: 50 }, () => messageTo('q'))]);
    await arrivals.count(51);
    await untilQueue(bus, 'q', ({ inFlight, ready }) => inFlight === 1 && ready.normal === 0);
  });
});
