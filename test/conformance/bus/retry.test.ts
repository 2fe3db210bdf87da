import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import type { BrowsedMessage, Outcome } from '../../../src/ports/bus.ts';
import { Arrivals, isEmpty, messageTo, onEachBus, queueOf, stateOf, untilQueue } from '../../support/buses.ts';

const partsOf = (message: BrowsedMessage | undefined) => message!.history.map(({ times, reason }) => ({ times, reason }));

onEachBus('retry', (under) => {
  test('tries again after the backoff until the tries are used up, then keeps the message with the last reason', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { attempts: 4, backoff: { firstMs: 20, factor: 3, mostMs: 100, jitter: 0 } }));
    const at: number[] = [];
    const arrivals = new Arrivals(({ attempt }) => {
      at.push(performance.now());
      return { kind: 'retry', reason: `no luck ${attempt}` };
    });
    await bus.consume('q', { concurrency: 3 }, arrivals.handler);
    await bus.publish([messageTo('q', { id: 'm' })]);
    await untilQueue(bus, 'q', ({ dead }) => dead === 1);
    assert.deepEqual(arrivals.messages.map((m) => m.attempt), [1, 2, 3, 4]);
    // A timer may fire a millisecond early by another clock.
    for (const [i, least] of [20, 60, 100].entries()) assert.ok(at[i + 1]! - at[i]! >= least - 2, `wait ${i + 1} was ${at[i + 1]! - at[i]!} ms`);
    const { messages } = await bus.browse('q', { dead: true, limit: 10 });
    assert.deepEqual(messages.map((m) => [m.id, m.attempts, m.reason]), [['m', 4, 'no luck 4']]);
    assert.ok(isEmpty(await stateOf(bus, 'q')));
  });

  test('keeps what a message has been through, over requeues and restarts, tries in a row that failed alike as one part', async (t) => {
    const place = under.place(t);
    const first = await under.open(t, place);
    await first.declare(queueOf('q', { attempts: 3, backoff: { firstMs: 0, factor: 1, mostMs: 0, jitter: 0 } }));
    const began = Date.now();
    let tries = 0;
    const before = await first.consume('q', { concurrency: 1 }, async () => {
      tries++;
      return { kind: 'retry', reason: tries < 4 ? 'mailbox full' : 'no such user', ...(tries === 1 && { notBefore: began }) };
    });
    await first.publish([messageTo('q', { id: 'bad' })]);
    await untilQueue(first, 'q', ({ dead }) => dead === 1);
    await before.stop(1_000);
    const full = { times: 3, reason: 'mailbox full' };
    const [shown] = (await first.browse('q', { dead: true, limit: 10 })).messages;
    assert.deepEqual([shown!.attempts, partsOf(shown)], [3, [full, { times: 1, reason: 'no such user' }]]);
    await first.stop(1_000);

    const second = await under.open(t, place);
    await second.requeue('q', { filter: {} });
    await second.publish([messageTo('q', { id: 'fresh', notBefore: began + 3_600_000 })]);
    const waiting = (await second.browse('q', { dead: false, limit: 10 })).messages;
    assert.deepEqual(Object.fromEntries(waiting.map((message) => [message.id, partsOf(message).at(-1)])), { bad: { times: 1, reason: null }, fresh: undefined });
    await second.consume('q', { concurrency: 1 }, async () => ({ kind: 'retry', reason: 'no such user' }));
    await untilQueue(second, 'q', ({ dead }) => dead === 1);
    const [again] = (await second.browse('q', { dead: true, limit: 10 })).messages;
    assert.deepEqual([again!.attempts, partsOf(again)], [3, [full, { times: 1, reason: 'no such user' }, { times: 1, reason: null }, { times: 3, reason: 'no such user' }]]);
    const times = again!.history.flatMap(({ first, last }) => [first, last]);
    assert.deepEqual(times, times.toSorted((a, b) => a - b));
    assert.ok(times[0]! >= began && times.at(-1)! <= Date.now(), JSON.stringify(times));
  });

  test('keeps the last ten parts of what a message has been through', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    let tries = 0;
    await bus.consume('q', { concurrency: 1 }, async () => ({ kind: 'dead', reason: `no luck ${++tries}` }));
    await bus.publish([messageTo('q')]);
    for (let n = 1; n <= 7; n++) {
      if (n > 1) await bus.requeue('q', { filter: {} });
      await untilQueue(bus, 'q', ({ dead }) => dead === 1 && tries === n);
    }
    const [message] = (await bus.browse('q', { dead: true, limit: 10 })).messages;
    assert.deepEqual(message!.history.map(({ reason }) => reason), [null, 'no luck 3', null, 'no luck 4', null, 'no luck 5', null, 'no luck 6', null, 'no luck 7']);
  });

  test('a throw counts as retry; a fault says its reason, anything else keeps its text to the log', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { attempts: 1 }));
    await bus.consume('q', { concurrency: 3 }, async ({ id }) => {
      throw id === 'fault' ? new Fault('unavailable', 'The disk is away.', { reason: 'disk' }) : new TypeError('anna@example.org is undefined');
    });
    await bus.publish([messageTo('q', { id: 'fault' }), messageTo('q', { id: 'other' })]);
    await untilQueue(bus, 'q', ({ dead }) => dead === 2);
    const { messages } = await bus.browse('q', { dead: true, limit: 10 });
    const reasons = Object.fromEntries(messages.map((m) => [m.id, m.reason]));
    assert.equal(reasons.fault, 'unavailable/disk: The disk is away.');
    assert.ok(!reasons.other!.includes('anna') && reasons.other!.includes('TypeError'));
  });

  test('`dead` goes to the error queue at the first try', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { attempts: 5 }));
    const arrivals = new Arrivals(() => ({ kind: 'dead', reason: 'malformed' }));
    await bus.consume('q', { concurrency: 3 }, arrivals.handler);
    await bus.publish([messageTo('q')]);
    await untilQueue(bus, 'q', ({ dead }) => dead === 1);
    const { messages } = await bus.browse('q', { dead: true, limit: 10 });
    assert.deepEqual([messages[0]!.attempts, messages[0]!.reason, arrivals.messages.length], [1, 'malformed', 1]);
  });

  test('a retry at a time of its own is not before that time and uses up no try', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { attempts: 2, backoff: { firstMs: 60_000, factor: 1, mostMs: 60_000, jitter: 0 } }));
    let notBefore = 0;
    const arrivals = new Arrivals((): Outcome => {
      assert.ok(Date.now() >= notBefore, 'came too early');
      if (arrivals.messages.length > 5) return { kind: 'done' };
      notBefore = Date.now() + 5;
      return { kind: 'retry', reason: 'throttled', notBefore };
    });
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await bus.publish([messageTo('q')]);
    await arrivals.count(6);
    assert.deepEqual(arrivals.messages.map((m) => m.attempt), [1, 1, 1, 1, 1, 1]);
    assert.equal((await untilQueue(bus, 'q', isEmpty)).dead, 0);
  });

  test('messages that fail hold up no others', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { attempts: 2, backoff: { firstMs: 60_000, factor: 1, mostMs: 60_000, jitter: 0 } }));
    const arrivals = new Arrivals(({ name }) => (name === 'suite.bad' ? { kind: 'retry', reason: 'bad' } : { kind: 'done' }));
    await bus.consume('q', { concurrency: 2 }, arrivals.handler);
    await bus.publish([...Array.from({ length: 20 }, () => messageTo('q', { name: 'suite.bad' })), ...Array.from({ length: 20 }, () => messageTo('q'))]);
    await arrivals.count(40);
    const state = await untilQueue(bus, 'q', ({ inFlight }) => inFlight === 0);
    assert.deepEqual([state.waiting, state.ready.normal, state.dead], [20, 0, 0]);
  });

  test('an outcome that is none counts as a throw and holds up nobody', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { attempts: 1 }));
    const odd: Record<string, unknown> = {
      nothing: undefined, text: 'done', unknown: { kind: 'maybe' },
      nan: { kind: 'retry', reason: 'x', notBefore: Number.NaN }, never: { kind: 'retry', reason: 'x', notBefore: Infinity }, text_time: { kind: 'retry', reason: 'x', notBefore: 'soon' },
      reasonless: { kind: 'dead' }, half: { kind: 'dead', reason: 'a\ud800b\0c' },
    };
    await bus.consume('q', { concurrency: 3 }, async ({ id }) => (id in odd ? (odd[id] as Outcome) : { kind: 'done' }));
    await bus.publish([...Object.keys(odd), 'good'].map((id) => messageTo('q', { id })));
    const { dead } = await untilQueue(bus, 'q', isEmpty);
    assert.equal(dead, Object.keys(odd).length);
  });

  test('tries and waits survive a restart', async (t) => {
    const place = under.place(t);
    const first = await under.open(t, place);
    await first.declare(queueOf('q', { attempts: 3, backoff: { firstMs: 80, factor: 1, mostMs: 80, jitter: 0 } }));
    const before = new Arrivals(() => ({ kind: 'retry', reason: 'not yet' }));
    await first.consume('q', { concurrency: 1 }, before.handler);
    await first.publish([messageTo('q')]);
    await untilQueue(first, 'q', ({ waiting }) => waiting === 1);
    await first.stop(1_000);
    const second = await under.open(t, place);
    const after = new Arrivals();
    await second.consume('q', { concurrency: 1 }, after.handler);
    await after.count(1);
    assert.equal(after.messages[0]!.attempt, 2);
  });
});
