import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arrivals, messageTo, onEachBus, queueOf, stateOf, within } from '../../support/buses.ts';
import { rejectsWith } from '../../support/faults.ts';

onEachBus('start and stop', (under) => {
  test('stops before it was started, and then does not start', async (t) => {
    const bus = under.create(t, under.place(t));
    await bus.stop(100);
    await bus.start().catch(() => {});
    await rejectsWith('unavailable', bus.publish([messageTo('q')]));
  });

  test('starts once and stops once, however often it is asked', async (t) => {
    const bus = under.create(t, under.place(t));
    await Promise.all([bus.start(), bus.start()]);
    await bus.start();
    await bus.declare(queueOf('q'));
    await Promise.all([bus.stop(500), bus.stop(500)]);
    await bus.stop(500);
  });

  test('stops in the middle of starting', async (t) => {
    const place = under.place(t);
    const bus = under.create(t, place);
    const starting = bus.start().catch(() => {});
    await within(2_000, bus.stop(500), () => 'stop did not end');
    await starting;
    const again = await under.open(t, place);
    await again.declare(queueOf('q'));
  });

  test('refuses everything before the start and after the stop', async (t) => {
    const bus = under.create(t, under.place(t));
    const everything = () => [
      bus.publish([messageTo('q')]), bus.declare(queueOf('q')), bus.consume('q', { concurrency: 1 }, async () => ({ kind: 'done' })), bus.inspect(),
      bus.browse('q', { dead: false, limit: 1 }), bus.pause('q'), bus.resume('q'), bus.requeue('q', { filter: {} }), bus.purge('q', { dead: true, filter: {} }),
    ];
    for (const asked of everything()) await rejectsWith('unavailable', asked, 'stopped');
    await bus.start();
    await bus.stop(100);
    for (const asked of everything()) await rejectsWith('unavailable', asked, 'stopped');
  });

  test('stop lets handlers finish, which may still publish, and loses nothing', async (t) => {
    const place = under.place(t);
    const bus = await under.open(t, place);
    await bus.declare(queueOf('q'));
    await bus.declare(queueOf('next'));
    const gate = Promise.withResolvers<void>();
    const arrivals = new Arrivals(async () => {
      await gate.promise;
      await bus.publish([messageTo('next')]);
      return { kind: 'done' };
    });
    await bus.consume('q', { concurrency: 3 }, arrivals.handler);
    await bus.publish(Array.from({ length: 5 }, () => messageTo('q')));
    await arrivals.count(3);
    const stopped = bus.stop(5_000);
    gate.resolve();
    await stopped;
    const again = await under.open(t, place);
    assert.deepEqual([(await stateOf(again, 'q')).ready.normal, (await stateOf(again, 'next')).ready.normal], [2, 3]);
  });

  test('stop ends near its deadline when a handler hangs; the message comes again at the next start', async (t) => {
    const place = under.place(t);
    const bus = await under.open(t, place);
    await bus.declare(queueOf('q'));
    const arrivals = new Arrivals(() => new Promise<never>(() => {}));
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await bus.publish([messageTo('q', { id: 'm' })]);
    await arrivals.count(1);
    const began = performance.now();
    await bus.stop(200);
    // A handler gets no longer; the rest takes its time on a busy machine.
    assert.ok(performance.now() - began < 5_000);
    const again = await under.open(t, place);
    const second = new Arrivals();
    await again.consume('q', { concurrency: 1 }, second.handler);
    await second.count(1);
    assert.deepEqual([second.messages[0]!.id, second.messages[0]!.attempt], ['m', 2]);
  });

  test('refuses settings that the first failing message would find out about', async (t) => {
    const bus = await under.open(t);
    const wrong = [
      { attempts: 0 }, { attempts: 1.5 }, { delayMs: -1 }, { delayMs: Infinity }, { backoff: { firstMs: 1, factor: 0, mostMs: 1, jitter: 0 } },
      { backoff: { firstMs: 1, factor: 2, mostMs: Infinity, jitter: 0 } }, { backoff: { firstMs: 1, factor: 2, mostMs: 1, jitter: 2 } }, { name: '' },
    ];
    for (const change of wrong) await rejectsWith('invalid', bus.declare(queueOf('q', change)), 'queue_settings');
    await bus.declare(queueOf('q', { topics: ['t', 't'] }));
    await bus.publish([messageTo('', { to: { topic: 't' } })]);
    assert.equal((await stateOf(bus, 'q')).ready.normal, 1);
  });

  test('declaring again changes the settings and keeps the messages', async (t) => {
    const place = under.place(t);
    const first = await under.open(t, place);
    await first.declare(queueOf('q', { topics: ['old'] }));
    await first.publish([messageTo('', { to: { topic: 'old' } })]);
    await first.declare(queueOf('q', { topics: ['new'], attempts: 1 }));
    await first.publish([messageTo('', { to: { topic: 'old' } }), messageTo('', { id: 'n', to: { topic: 'new' } })]);
    await first.stop(500);
    const second = await under.open(t, place);
    await second.publish([messageTo('', { id: 'n2', to: { topic: 'new' } })]);
    assert.equal((await stateOf(second, 'q')).ready.normal, 3);
    await second.consume('q', { concurrency: 1 }, async () => ({ kind: 'retry', reason: 'no' }));
    await within(5_000, (async () => { while ((await stateOf(second, 'q')).dead < 3) await new Promise((r) => setTimeout(r, 2)); })(), () => 'the single try did not hold');
  });
});
