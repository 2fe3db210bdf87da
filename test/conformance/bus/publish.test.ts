import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arrivals, isEmpty, messageTo, onEachBus, queueOf, stateOf, untilQueue } from '../../support/buses.ts';
import { rejectsWith } from '../../support/faults.ts';

onEachBus('publish', (under) => {
  test('brings every field as it was published', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const full = messageTo('q', { id: 'a-1', name: 'suite.full', workspace: 'w-ü', key: 'k 1', lane: 'urgent', time: 1_700_000_000_123, payload: '{"text":"ünï \\u0000 \\ud800 😀","n":1.5}' });
    const bare = messageTo('q', { workspace: null, key: null, payload: 'null' });
    await bus.publish([full, bare]);
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(2);
    for (const sent of [full, bare]) {
      const { to: _, ...fields } = sent;
      assert.deepEqual(arrivals.messages.find((m) => m.id === sent.id), { ...fields, queue: 'q', attempt: 1 });
    }
  });

  test('is refused by name for a queue that nobody declared, and then nothing of the call is kept', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    await rejectsWith('not_found', bus.publish([messageTo('q'), messageTo('nowhere')]), 'queue_not_found');
    assert.ok(isEmpty(await stateOf(bus, 'q')));
  });

  test('refuses what is too large or cannot be stored, without harm to its neighbours', async (t) => {
    const bus = await under.open(t, undefined, { maxMessageBytes: 2_000 });
    await bus.declare(queueOf('q'));
    const outcomes = await Promise.allSettled([
      bus.publish([messageTo('q')]),
      bus.publish([messageTo('q'), messageTo('q', { payload: JSON.stringify('x'.repeat(2_000)) })]),
      bus.publish([messageTo('q', { payload: '"\ud800"' })]),
      bus.publish([messageTo('q', { key: 'a\0b' })]),
      bus.publish([messageTo('q', { lane: 'express' as 'urgent' })]),
      bus.publish([messageTo('q', { time: 1.5 })]),
      bus.publish([messageTo('q', { notBefore: Number.NaN })]),
      bus.publish([messageTo('q')]),
    ]);
    assert.deepEqual(outcomes.map((o) => (o.status === 'fulfilled' ? 'ok' : `${o.reason.code}/${o.reason.reason}`)), ['ok', 'invalid/too_large', 'invalid/unstorable_text', 'invalid/unstorable_text', 'invalid/lane', 'invalid/time', 'invalid/time', 'ok']);
    assert.equal((await stateOf(bus, 'q')).ready.normal, 2);
  });

  test('fans an event out to every queue of its topic, and keeps nothing of a topic without one', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('one', { topics: ['thing.happened', 'thing.ended'] }));
    await bus.declare(queueOf('two', { topics: ['thing.happened'] }));
    const [one, two] = [new Arrivals(), new Arrivals()];
    await bus.consume('one', { concurrency: 5 }, one.handler);
    await bus.consume('two', { concurrency: 5 }, two.handler);
    await bus.publish([
      messageTo('', { id: 'e1', to: { topic: 'thing.happened' } }),
      messageTo('', { id: 'e2', to: { topic: 'thing.ended' } }),
      messageTo('', { id: 'e3', to: { topic: 'thing.unheard-of' } }),
    ]);
    await Promise.all([one.count(2), two.count(1)]);
    await untilQueue(bus, 'one', isEmpty);
    await untilQueue(bus, 'two', isEmpty);
    assert.deepEqual([one.ids.sort(), two.ids], [['e1', 'e2'], ['e1']]);
  });

  test('stores the same id once in each queue while the first is there', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    await bus.declare(queueOf('other'));
    await bus.publish([messageTo('q', { id: 'same', payload: '1' }), messageTo('q', { id: 'same', payload: '2' }), messageTo('other', { id: 'same' })]);
    await Promise.all([bus.publish([messageTo('q', { id: 'same' })]), bus.publish([messageTo('q', { id: 'same' }), messageTo('q', { id: 'else' })])]);
    assert.equal((await stateOf(bus, 'q')).ready.normal, 2);
    assert.equal((await stateOf(bus, 'other')).ready.normal, 1);
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(2);
    await untilQueue(bus, 'q', isEmpty);
    assert.deepEqual([arrivals.ids, arrivals.messages[0]!.payload], [['same', 'else'], '1']);
    await bus.publish([messageTo('q', { id: 'same' })]);
    await arrivals.count(3);
  });

  test('calls handlers after the commit and never inside the publisher\'s call', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const arrivals = new Arrivals();
    let inside = false;
    let calledInside = false;
    await bus.consume('q', { concurrency: 10 }, (message) => {
      calledInside ||= inside;
      return arrivals.handler(message);
    });
    const published: Promise<void>[] = [];
    for (let i = 0; i < 20; i++) {
      inside = true;
      published.push(bus.publish([messageTo('q')]));
      inside = false;
    }
    await Promise.all(published);
    await arrivals.count(20);
    assert.equal(calledInside, false);
  });

  test('an empty call does nothing', async (t) => {
    const bus = await under.open(t);
    await bus.publish([]);
  });

  test('keeps thousands of concurrent calls apart: each of them arrives once', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const sent = Array.from({ length: 3_000 }, () => messageTo('q'));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 50 }, arrivals.handler);
    await Promise.all(sent.map((message) => bus.publish([message])));
    await arrivals.count(sent.length);
    await untilQueue(bus, 'q', isEmpty);
    assert.deepEqual(arrivals.ids.toSorted(), sent.map((m) => m.id).toSorted());
  });

  test('is refused with `exhausted` and a time to come again while the backlog is at its limit', async (t) => {
    const bus = await under.open(t, undefined, { maxBacklog: 10 });
    await bus.declare(queueOf('q'));
    await bus.publish(Array.from({ length: 9 }, () => messageTo('q')));
    const fault = await rejectsWith('exhausted', bus.publish([messageTo('q'), messageTo('q')]), 'backlog');
    assert.ok(Number(fault.details.retryAfterMs) > 0);
    await bus.publish([messageTo('q')]);
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 5 }, arrivals.handler);
    await untilQueue(bus, 'q', isEmpty);
    await bus.publish([messageTo('q')]);
    await arrivals.count(11);
  });
});
