import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BrowsedMessage, Bus, MessageFilter } from '../../../src/ports/bus.ts';
import { Arrivals, isEmpty, messageTo, onEachBus, purgeAll, queueOf, requeueAll, stateOf, untilQueue } from '../../support/buses.ts';
import { rejectsWith } from '../../support/faults.ts';

async function browseAll(bus: Bus, queue: string, dead: boolean, limit: number, filter: MessageFilter = {}): Promise<BrowsedMessage[]> {
  const messages: BrowsedMessage[] = [];
  let after: string | undefined;
  for (let pages = 0; pages < 1_000; pages++) {
    const page = await bus.browse(queue, { dead, filter, limit, ...(after === undefined ? {} : { after }) });
    assert.ok(page.messages.length <= limit);
    messages.push(...page.messages);
    if (page.next === null) return messages;
    after = page.next;
  }
  throw new Error('the list has no end');
}

/** Messages in the error queue: ten of each workspace, half of them named suite.odd, reasons by turns. */
async function withDead(bus: Bus, count = 20): Promise<string[]> {
  const sent = Array.from({ length: count }, (_, i) =>
    messageTo('q', { id: `m${String(i).padStart(3, '0')}`, workspace: `w${i % 2}`, name: i % 4 < 2 ? 'suite.even' : 'suite.odd', time: 1_000 + i, lane: i % 3 === 0 ? 'bulk' : 'normal' }));
  await bus.publish(sent);
  const consumer = await bus.consume('q', { concurrency: 100 }, async ({ id }) => ({ kind: 'dead', reason: Number(id.slice(1)) < 5 ? 'mailbox full' : 'no such user' }));
  await untilQueue(bus, 'q', ({ dead }) => dead === count);
  await consumer.stop(1_000);
  return sent.map((m) => m.id);
}

onEachBus('staff', (under) => {
  test('inspect tells what is where', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { attempts: 1 }));
    assert.deepEqual(await bus.inspect(), [
      { name: 'q', ready: { urgent: 0, normal: 0, bulk: 0 }, waiting: 0, inFlight: 0, dead: 0, oldestMs: null, paused: false, pausedWorkspaces: [], consumers: 0, concurrency: 0, lastPublished: null, lastTaken: null },
    ]);
    const before = Date.now();
    await bus.publish([messageTo('q', { lane: 'urgent', name: 'suite.hangs' }), messageTo('q'), messageTo('q', { lane: 'bulk' }), messageTo('q', { lane: 'bulk', notBefore: Date.now() + 60_000 })]);
    const arrivals = new Arrivals(({ name }) => (name === 'suite.hangs' ? new Promise<never>(() => {}) : { kind: 'dead', reason: 'bad' }));
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(1);
    await bus.pause('q');
    await bus.consume('q', { concurrency: 4 }, arrivals.handler);
    const state = await untilQueue(bus, 'q', ({ inFlight }) => inFlight === 1);
    assert.deepEqual([state.ready, state.waiting, state.dead, state.consumers, state.concurrency], [{ urgent: 0, normal: 1, bulk: 1 }, 1, 0, 2, 5]);
    assert.ok(state.oldestMs !== null && state.oldestMs <= Date.now() - before);
    assert.ok(state.lastPublished! >= before && state.lastTaken! >= before);
    await bus.resume('q');
    const after = await untilQueue(bus, 'q', ({ dead }) => dead === 2);
    assert.deepEqual([after.ready, after.oldestMs], [{ urgent: 0, normal: 0, bulk: 0 }, null]);
  });

  test('inspect of one queue, and of one workspace in it, tells nothing of others', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    await bus.declare(queueOf('other'));
    await withDead(bus, 6);
    const gate = Promise.withResolvers<void>();
    const arrivals = new Arrivals(async () => {
      await gate.promise;
      return { kind: 'done' };
    });
    await bus.publish([messageTo('q', { workspace: 'w1' })]);
    const consumer = await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(1);
    const later = Date.now() + 60_000;
    await bus.publish([
      ...(['urgent', 'bulk', 'bulk'] as const).map((lane) => messageTo('q', { workspace: 'w1', lane })),
      messageTo('q', { workspace: 'w2' }), messageTo('q', { workspace: null }), messageTo('q', { workspace: 'w1', notBefore: later }), messageTo('q', { workspace: 'w2', notBefore: later }),
    ]);
    await bus.pause('q', 'w1');
    await bus.pause('q', 'w2');
    const [state, ...more] = await bus.inspect({ queue: 'q', workspace: 'w1' });
    assert.deepEqual(more, []);
    const { oldestMs, lastPublished, lastTaken, ...counts } = state!;
    assert.deepEqual(counts, { name: 'q', ready: { urgent: 1, normal: 0, bulk: 2 }, waiting: 1, inFlight: 1, dead: 3, paused: false, pausedWorkspaces: ['w1'], consumers: 1, concurrency: 1 });
    assert.ok(oldestMs !== null && oldestMs >= 0 && lastPublished !== null && lastTaken !== null);
    const [stranger] = await bus.inspect({ queue: 'q', workspace: 'w3' });
    assert.deepEqual([stranger!.ready, stranger!.waiting, stranger!.inFlight, stranger!.dead, stranger!.oldestMs, stranger!.pausedWorkspaces], [{ urgent: 0, normal: 0, bulk: 0 }, 0, 0, 0, null, []]);
    assert.deepEqual((await bus.inspect({ workspace: 'w2' })).map(({ name, ready, waiting, dead, oldestMs: oldest }) => [name, ready.normal, waiting, dead, oldest === null]).toSorted(), [['other', 0, 0, 0, true], ['q', 1, 1, 0, false]]);
    assert.deepEqual((await bus.inspect({ queue: 'other' })).map(({ name }) => name), ['other']);
    await rejectsWith('not_found', bus.inspect({ queue: 'nowhere' }), 'queue_not_found');
    gate.resolve();
    await consumer.stop(1_000);
  });

  test('browse shows each message once, page by page, whatever the size of the page', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true }));
    const sent = Array.from({ length: 30 }, (_, i) =>
      messageTo('q', { id: `m${i}`, workspace: i % 3 === 0 ? null : `w${i % 3}`, lane: (['urgent', 'normal', 'bulk'] as const)[i % 2]!, key: `k${i % 4}`, ...(i % 5 === 0 ? { notBefore: Date.now() + 60_000 } : {}) }));
    await bus.publish(sent);
    for (const limit of [1, 4, 30, 1_000]) {
      const ids = (await browseAll(bus, 'q', false, limit)).map((m) => m.id);
      assert.deepEqual(ids.toSorted(), sent.map((m) => m.id).toSorted(), `pages of ${limit}`);
    }
    const one = (await browseAll(bus, 'q', false, 10)).find((m) => m.id === 'm7')!;
    const { id, name, workspace, key, lane, time, payload } = sent[7]!;
    assert.deepEqual({ ...one, due: 0 }, { id, name, workspace, key, lane, time, payload, due: 0, attempts: 0, reason: null, history: [] });
    assert.deepEqual(await browseAll(bus, 'q', true, 10), []);
  });

  test('browse redacts personal fields', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { personal: ['email', 'traits'] }));
    await bus.publish([
      messageTo('q', { id: 'a', payload: JSON.stringify({ email: 'anna@example.org', traits: { phone: '1' }, campaign: 'c1', n: 3 }) }),
      messageTo('q', { id: 'b', payload: JSON.stringify(['anna@example.org']) }),
      messageTo('q', { id: 'c', payload: 'anna@example.org is not JSON' }),
    ]);
    const shown = Object.fromEntries((await browseAll(bus, 'q', false, 10)).map((m) => [m.id, m.payload]));
    assert.deepEqual(JSON.parse(shown.a!), { email: '[redacted]', traits: '[redacted]', campaign: 'c1', n: 3 });
    assert.ok(!shown.b!.includes('anna') && !shown.c!.includes('anna'));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(3);
    assert.ok(arrivals.messages[0]!.payload.includes('anna@example.org'));
  });

  const FILTERS: readonly (readonly [string, MessageFilter, (i: number) => boolean])[] = [
    ['workspace', { workspace: 'w1' }, (i) => i % 2 === 1],
    ['name', { name: 'suite.odd' }, (i) => i % 4 >= 2],
    ['ids', { ids: ['m003', 'm007', 'nobody'] }, (i) => i === 3 || i === 7],
    ['part of the reason', { reason: 'such' }, (i) => i >= 5],
    ['before', { before: 1_004 }, (i) => i < 4],
    ['several at once', { workspace: 'w0', name: 'suite.even', before: 1_010, ids: ['m000', 'm004', 'm006', 'm012'] }, (i) => i === 0 || i === 4],
    ['a workspace that never sent', { workspace: 'stranger' }, () => false],
  ];
  for (const [what, filter, matches] of FILTERS) {
    test(`browse, requeue and purge keep to the filter: ${what}`, async (t) => {
      const bus = await under.open(t);
      await bus.declare(queueOf('q'));
      const ids = await withDead(bus);
      const chosen = ids.filter((_, i) => matches(i));
      assert.deepEqual((await browseAll(bus, 'q', true, 3, filter)).map((m) => m.id).toSorted(), chosen);
      assert.equal(await requeueAll(bus, 'q', filter), chosen.length);
      const { ready, dead } = await stateOf(bus, 'q');
      assert.deepEqual([ready.normal + ready.bulk, dead], [chosen.length, ids.length - chosen.length]);
      const { reason: _, ...living } = filter;
      assert.equal(await purgeAll(bus, 'q', { dead: false, filter: living }), chosen.length);
      assert.equal(await purgeAll(bus, 'q', { dead: true }), ids.length - chosen.length);
      assert.ok(isEmpty(await stateOf(bus, 'q')));
      assert.deepEqual(await browseAll(bus, 'q', true, 100), []);
    });
  }

  test('requeued messages start anew', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const ids = await withDead(bus);
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 3 }, arrivals.handler);
    assert.equal(await requeueAll(bus, 'q'), ids.length);
    await arrivals.count(ids.length);
    assert.deepEqual(arrivals.ids.toSorted(), ids);
    assert.ok(arrivals.messages.every((m) => m.attempt === 1));
    assert.equal(await requeueAll(bus, 'q'), 0);
  });

  test('what dies again while its queue is requeued part by part is not taken up twice', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const ids = await withDead(bus, 2_500);
    const consumer = await bus.consume('q', { concurrency: 100 }, async () => ({ kind: 'dead', reason: 'again' }));
    let requeued = 0;
    for (let after: string | undefined; ; ) {
      const part = await bus.requeue('q', { filter: {}, ...(after !== undefined && { after }) });
      requeued += part.count;
      assert.ok(requeued <= ids.length, 'some were taken up twice');
      await untilQueue(bus, 'q', ({ dead }) => dead === ids.length);
      if (part.next === null) break;
      after = part.next;
    }
    assert.equal(requeued, ids.length);
    await consumer.stop(1_000);
  });

  test('purge leaves what is under way, and takes what waits', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const gate = Promise.withResolvers<void>();
    const arrivals = new Arrivals(async () => {
      await gate.promise;
      return { kind: 'done' };
    });
    await bus.consume('q', { concurrency: 2 }, arrivals.handler);
    await bus.publish([...Array.from({ length: 1_500 }, () => messageTo('q')), messageTo('q', { notBefore: Date.now() + 60_000 })]);
    await arrivals.count(2);
    assert.equal(await purgeAll(bus, 'q', { dead: false }), 1_499);
    gate.resolve();
    assert.ok(isEmpty(await untilQueue(bus, 'q', isEmpty)));
    assert.equal(arrivals.messages.length, 2);
    await bus.publish([messageTo('q')]);
    await arrivals.count(3);
  });

  test('a page holds a few megabytes at most, and the pages together everything', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const payload = JSON.stringify('x'.repeat(900_000));
    const ids = Array.from({ length: 7 }, (_, i) => `m${i}`);
    for (const id of ids) await bus.publish([messageTo('q', { id, payload })]);
    assert.ok((await bus.browse('q', { dead: false, limit: 100 })).messages.length < 7);
    assert.deepEqual((await browseAll(bus, 'q', false, 100)).map((m) => m.id), ids);
    assert.deepEqual((await browseAll(bus, 'q', false, 5, { ids })).map((m) => m.id), ids);
  });

  test('says what is wrong with a queue, a page or a cursor', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    await rejectsWith('not_found', bus.browse('nowhere', { dead: false, limit: 1 }), 'queue_not_found');
    await rejectsWith('not_found', bus.requeue('nowhere', { filter: {} }));
    await rejectsWith('not_found', bus.purge('nowhere', { dead: true, filter: {} }));
    for (const limit of [0, -1, 1.5, 100_000]) await rejectsWith('invalid', bus.browse('q', { dead: false, limit }), 'limit');
    for (const after of ['', 'x', '9.9.9.9', '0.0.0.-1', "0.0.0.1' or 1=1"]) {
      await rejectsWith('invalid', bus.browse('q', { dead: false, limit: 1, after }), 'cursor_invalid');
      await rejectsWith('invalid', bus.requeue('q', { filter: {}, after }), 'cursor_invalid');
      await rejectsWith('invalid', bus.purge('q', { dead: true, filter: {}, after }), 'cursor_invalid');
    }
  });
});
