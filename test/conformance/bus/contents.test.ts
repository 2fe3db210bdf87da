import assert from 'node:assert/strict';
import { type TestContext as Test, test } from 'node:test';
import type { Bus, BusContents, KeptMessage } from '../../../src/ports/bus.ts';
import { inParts } from '../../../src/ports/in-parts.ts';
import { Arrivals, type BusUnderTest, messageTo, onEachBusWithContents, queueOf, stateOf, untilQueue } from '../../support/buses.ts';
import { rejectsWith } from '../../support/faults.ts';

/** Messages in one call. */
const PAGE = 500;

type Full = Bus & { readonly contents: BusContents };

const open = async (under: BusUnderTest, t: Test, place = under.place(t)) => (await under.open(t, place)) as Full;

async function readAll({ contents }: Full, queue: string, from?: string): Promise<{ messages: KeptMessage[]; next: string; pages: number }> {
  const messages: KeptMessage[] = [];
  for (let pages = 1, after = from; pages < 1_000; pages++) {
    const page = await contents.read(queue, after);
    messages.push(...page.messages);
    if (page.end) return { messages, next: page.next, pages };
    after = page.next;
  }
  throw new Error('reading has no end');
}

onEachBusWithContents('contents', (under) => {
  test('of one bus go on in another as if nothing had happened', async (t) => {
    const [from, to] = [await open(under, t), await open(under, t)];
    assert.notEqual(from.contents.place, undefined);
    const settings = queueOf('q', { topics: ['suite.happened'], ordered: true, attempts: 3, backoff: { firstMs: 3_600_000, factor: 1, mostMs: 3_600_000, jitter: 0 } });
    await from.declare(settings);
    assert.deepEqual(await from.contents.queues(), [settings]);
    const later = Date.now() + 3_600_000;
    const sent = [
      messageTo('q', { id: 'tried', key: 'k', payload: '{"text":"ünï \\u0000 😀"}' }),
      messageTo('q', { id: 'dead', workspace: null, lane: 'bulk', time: 7 }),
      messageTo('q', { id: 'behind', key: 'k', lane: 'urgent' }),
      messageTo('q', { id: 'delayed', notBefore: later }),
      messageTo('q', { id: 'plain', workspace: 'w2' }),
    ];
    await from.publish(sent.slice(0, 2));
    const consumer = await from.consume('q', { concurrency: 1 }, async ({ id }) => (id === 'dead' ? { kind: 'dead', reason: 'no such user' } : { kind: 'retry', reason: 'mailbox full' }));
    await untilQueue(from, 'q', ({ dead, waiting }) => dead + waiting === 2);
    await consumer.stop(1_000);
    await from.publish(sent.slice(2));

    const { messages } = await readAll(from, 'q');
    assert.deepEqual(messages.map(({ id, dead, attempts, reason, suspect }) => ({ id, dead, attempts, reason, suspect })), [
      { id: 'tried', dead: false, attempts: 1, reason: 'mailbox full', suspect: false },
      { id: 'dead', dead: true, attempts: 1, reason: 'no such user', suspect: false },
      ...['behind', 'delayed', 'plain'].map((id) => ({ id, dead: false, attempts: 0, reason: null, suspect: false })),
    ]);
    for (const [i, { to: _, notBefore: __, ...fields }] of sent.entries()) {
      const { due, dead, attempts, reason, history, suspect, ...kept } = messages[i]!;
      assert.deepEqual(kept, fields);
    }
    assert.equal(messages[3]!.due, later);
    assert.deepEqual(messages.map(({ history }) => history.map(({ times, reason }) => [times, reason])), [[[1, 'mailbox full']], [[1, 'no such user']], [], [], []]);

    await to.declare(settings);
    await to.contents.add('q', messages);
    assert.deepEqual((await readAll(to, 'q')).messages, messages);
    const { ready, waiting, dead } = await stateOf(to, 'q');
    assert.deepEqual([ready, waiting, dead], [{ urgent: 1, normal: 1, bulk: 0 }, 2, 1]);
    assert.deepEqual((await to.browse('q', { dead: true, limit: 10 })).messages.map(({ id, reason }) => [id, reason]), [['dead', 'no such user']]);

    const arrivals = new Arrivals();
    await to.consume('q', { concurrency: 10 }, arrivals.handler);
    await arrivals.count(1);
    assert.deepEqual(arrivals.ids, ['plain'], 'what is behind a message of its key that waits came before it');
  });

  test('that were due are handled with the tries that they have had, in the order of their keys, also after a restart', async (t) => {
    const place = under.place(t);
    const [from, to] = [await open(under, t), await open(under, t, place)];
    const settings = queueOf('q', { ordered: true, attempts: 2 });
    for (const bus of [from, to]) await bus.declare(settings);
    const sent = Array.from({ length: 30 }, (_, i) => messageTo('q', { id: `m${i}`, key: `k${i % 3}`, lane: i % 2 === 0 ? 'bulk' : 'normal' }));
    await from.publish(sent);
    const { messages } = await readAll(from, 'q');
    await to.contents.add('q', messages.map((message) => ({ ...message, attempts: 1, suspect: message.id === 'm4' })));
    await to.stop(1_000);
    const again = await open(under, t, place);
    const arrivals = new Arrivals(({ id }) => (id === 'm0' ? { kind: 'retry', reason: 'never' } : { kind: 'done' }));
    await again.consume('q', { concurrency: 10 }, arrivals.handler);
    await arrivals.count(30);
    for (const key of ['k0', 'k1', 'k2']) assert.deepEqual(arrivals.messages.filter((m) => m.key === key).map(({ id }) => id), sent.filter((m) => m.key === key).map(({ id }) => id));
    assert.deepEqual([...new Set(arrivals.messages.map(({ attempt }) => attempt))], [2]);
    await untilQueue(again, 'q', ({ dead, ready, inFlight }) => dead === 1 && ready.normal + ready.bulk + inFlight === 0);
  });

  test('are put in once however often they are put in', async (t) => {
    const [from, to] = [await open(under, t), await open(under, t)];
    for (const bus of [from, to]) await bus.declare(queueOf('q'));
    await from.publish(Array.from({ length: 20 }, () => messageTo('q')));
    const { messages } = await readAll(from, 'q');
    await to.contents.add('q', messages.slice(0, 10));
    await to.contents.add('q', messages);
    assert.equal((await stateOf(to, 'q')).ready.normal, 20);
    assert.deepEqual((await readAll(to, 'q')).messages, messages);
  });

  test('of a long queue between others come whole and in order, page by page, and later ones behind them', async (t) => {
    const bus = await open(under, t);
    for (const name of ['long', 'other']) await bus.declare(queueOf(name));
    const LONG = 7_000;
    for (let sent = 0; sent < LONG; sent += 500) {
      await bus.publish(Array.from({ length: 1_000 }, (_, i) => messageTo(i % 2 === 0 ? 'long' : 'other', { id: `m${sent + (i >> 1)}`, payload: '1' })));
    }
    const { messages, next, pages } = await readAll(bus, 'long');
    assert.deepEqual(messages.map(({ id }) => id), Array.from({ length: LONG }, (_, i) => `m${i}`));
    assert.ok(pages > LONG / 500, `${pages} pages`);
    assert.deepEqual((await readAll(bus, 'long', next)).messages, []);
    await bus.publish([messageTo('other', { id: 'foreign' }), messageTo('long', { id: 'later' })]);
    assert.deepEqual((await readAll(bus, 'long', next)).messages.map(({ id }) => id), ['later']);
  });

  test('come in pages that fit into memory, of a message at least', async (t) => {
    const bus = await open(under, t);
    await bus.declare(queueOf('q'));
    const payload = JSON.stringify('x'.repeat(600_000));
    for (let i = 0; i < 5; i++) await bus.publish([messageTo('q', { id: `m${i}`, payload })]);
    const { messages, pages } = await readAll(bus, 'q');
    assert.deepEqual(messages.map(({ id }) => id), ['m0', 'm1', 'm2', 'm3', 'm4']);
    assert.equal(pages, 5);
  });

  test('with long histories come in pages that fit into memory', async (t) => {
    const [bus, to] = [await open(under, t), await open(under, t)];
    for (const one of [bus, to]) await one.declare(queueOf('q'));
    await bus.publish(Array.from({ length: 200 }, () => messageTo('q')));
    const { messages: plain } = await readAll(bus, 'q');
    const history = Array.from({ length: 10 }, (_, i) => ({ first: i, last: i, times: 1, reason: String(i % 10).repeat(2_000) }));
    await to.contents.add('q', plain.map((message) => ({ ...message, history })));
    const { messages, pages } = await readAll(to, 'q');
    assert.deepEqual(messages.map((message) => message.history), plain.map(() => history));
    assert.ok(pages >= 4, `${pages} pages`);
    assert.ok((await to.browse('q', { dead: false, limit: 200 })).messages.length < 200);
  });

  test('are refused as what is published is', async (t) => {
    const place = under.place(t);
    const [from, small] = [await open(under, t), (await under.open(t, place, { maxMessageBytes: 2_000 })) as Full];
    for (const bus of [from, small]) await bus.declare(queueOf('q'));
    await from.publish([messageTo('q'), messageTo('q', { payload: JSON.stringify('x'.repeat(3_000)) })]);
    const { messages } = await readAll(from, 'q');
    await rejectsWith('invalid', small.contents.add('q', messages), 'too_large');
    assert.equal((await stateOf(small, 'q')).ready.normal, 0);
    await rejectsWith('not_found', small.contents.add('nowhere', []), 'queue_not_found');
    await rejectsWith('not_found', small.contents.read('nowhere'), 'queue_not_found');
    await rejectsWith('invalid', small.contents.read('q', '1.2.3'), 'cursor_invalid');
  });

  test('of 12,000 dead messages the 10,000 of one reason go back into their queue within ten seconds', async (t) => {
    const bus = await open(under, t);
    await bus.declare(queueOf('q'));
    await bus.pause('q');
    for (let at = 0; at < 12_000; at += PAGE) {
      await bus.contents.add('q', Array.from({ length: PAGE }, (_, n) => ({ ...messageTo('q', { id: `m${at + n}` }), due: 0, dead: true, attempts: 3, reason: (at + n) % 6 === 0 ? 'never' : 'mailbox full', history: [], suspect: false })));
    }
    const began = performance.now();
    const requeued = await inParts((from) => bus.requeue('q', { filter: { reason: 'mailbox full' }, ...from }));
    const tookMs = performance.now() - began;
    t.diagnostic(`${Math.round(tookMs)} ms`);
    const { ready, dead } = await stateOf(bus, 'q');
    assert.deepEqual([requeued, ready.normal, dead], [10_000, 10_000, 2_000]);
    assert.ok(tookMs < 10_000, `${tookMs} ms`);
  });
});
