import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { LANES } from '../../../src/kernel/message.ts';
import type { Bus, Handler, Outcome, Outgoing } from '../../../src/ports/bus.ts';
import { Arrivals, type BusUnderTest, isEmpty, messageTo, onEachBus, purgeAll, queueOf, requeueAll, stateOf, untilQueue } from '../../support/buses.ts';
import { type Random, seeded } from '../../support/seed.ts';

/** Fails when two messages of a key overlap, or one ends before an earlier one has. */
class KeyLedger {
  readonly #running = new Set<string>();
  readonly #sent = new Map<string, string[]>();
  readonly #ended = new Map<string, string[]>();

  sent({ id, key, workspace }: Outgoing): void {
    push(this.#sent, `${workspace}/${key}`, id);
  }

  begin(key: string): void {
    assert.ok(!this.#running.has(key), `two messages of key ${key} at once`);
    this.#running.add(key);
  }

  end(key: string, id: string, outcome: Outcome, last: boolean): void {
    this.#running.delete(key);
    if (outcome.kind !== 'retry' || (last && outcome.notBefore === undefined)) push(this.#ended, key, id);
  }

  check(): void {
    for (const [key, ids] of this.#sent) assert.deepEqual(this.#ended.get(key), ids, `key ${key}`);
  }
}

function push(map: Map<string, string[]>, key: string, id: string): void {
  const ids = map.get(key);
  if (ids === undefined) map.set(key, [id]);
  else ids.push(id);
}

function ordering(ledger: KeyLedger, random: Random, attempts: number): Handler {
  return async ({ id, key, workspace, attempt }) => {
    const turn = `${workspace}/${key}`;
    ledger.begin(turn);
    if (random.whole(2) === 0) await sleep(random.whole(3));
    const chance = random.whole(100) / 100;
    const outcome: Outcome =
      chance < 0.7 ? { kind: 'done' }
      : chance < 0.9 ? { kind: 'retry', reason: 'chance' }
      : chance < 0.95 ? { kind: 'retry', reason: 'later', notBefore: Date.now() + random.whole(4) }
      : { kind: 'dead', reason: 'chance' };
    ledger.end(turn, id, outcome, attempt >= attempts);
    return outcome;
  };
}

/** Each message of a key is a way there and back of its own, through a broker or over a link. */
function isFar({ driver }: BusUnderTest): boolean {
  return driver !== 'embedded';
}

onEachBus('order', (under) => {
  test('of one key, messages run one at a time in the order of publishing: retries, dead ones, lanes, consumers and a restart at random', async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const place = under.place(t);
    const ledger = new KeyLedger();
    const attempts = 3;
    const publishSome = async (bus: Bus): Promise<void> => {
      for (let round = 0; round < 15; round++) {
        const batch = Array.from({ length: 1 + random.whole(40) }, () =>
          messageTo('q', { key: `k${random.whole(12)}`, workspace: `w${random.whole(2)}`, lane: LANES[random.whole(3)]! }));
        for (const message of batch) ledger.sent(message);
        await bus.publish(batch);
      }
    };
    const first = await under.open(t, place);
    await first.declare(queueOf('q', { ordered: true, attempts, backoff: { firstMs: 1, factor: 2, mostMs: 4, jitter: 1 } }));
    const consumers = [await first.consume('q', { concurrency: 8 }, ordering(ledger, random, attempts)), await first.consume('q', { concurrency: 3 }, ordering(ledger, random, attempts))];
    await publishSome(first);
    await consumers[random.whole(2)]!.stop(1_000);
    await publishSome(first);
    await first.stop(5_000);
    const second = await under.open(t, place);
    await second.consume('q', { concurrency: 10 }, ordering(ledger, random, attempts));
    await publishSome(second);
    await untilQueue(second, 'q', isEmpty);
    ledger.check();
  });

  test('a key that waits for its next try blocks itself only; its head in the error queue frees it', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true, attempts: 3, backoff: { firstMs: 40, factor: 1, mostMs: 40, jitter: 0 } }));
    const arrivals = new Arrivals(({ id }) => (id === 'a1' ? { kind: 'retry', reason: 'bad' } : { kind: 'done' }));
    await bus.consume('q', { concurrency: 4 }, arrivals.handler);
    await bus.publish(['a1', 'a2', 'a3', 'b1', 'b2', 'c1'].map((id) => messageTo('q', { id, key: id[0]! })));
    await arrivals.count(4);
    assert.deepEqual(arrivals.ids.toSorted(), ['a1', 'b1', 'b2', 'c1']);
    await untilQueue(bus, 'q', isEmpty);
    assert.deepEqual(arrivals.ids.filter((id) => id.startsWith('a')), ['a1', 'a1', 'a1', 'a2', 'a3']);
    assert.equal((await stateOf(bus, 'q')).dead, 1);
  });

  test('messages without a key, and the same key of two workspaces, wait for nobody', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true }));
    const arrivals = new Arrivals(() => new Promise<never>(() => {}));
    await bus.consume('q', { concurrency: 10 }, arrivals.handler);
    await bus.publish([messageTo('q'), messageTo('q'), messageTo('q', { key: 'k' }), messageTo('q', { key: 'k', workspace: 'w2' }), messageTo('q', { key: 'k', workspace: null })]);
    await arrivals.count(5);
  });

  test('a delayed head keeps its place', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true }));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 10 }, arrivals.handler);
    await bus.publish([messageTo('q', { id: 'a1', key: 'a', notBefore: Date.now() + 40 }), messageTo('q', { id: 'a2', key: 'a' }), messageTo('q', { id: 'b1', key: 'b' })]);
    await arrivals.count(3);
    assert.deepEqual(arrivals.ids, ['b1', 'a1', 'a2']);
  });

  test('thousands behind a waiting head neither delay others nor get lost', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true }));
    const gate = Promise.withResolvers<void>();
    const arrivals = new Arrivals(async ({ id, attempt }) => {
      if (id !== 'head' || attempt > 1) return { kind: 'done' };
      await gate.promise;
      return { kind: 'retry', reason: 'once' };
    });
    await bus.consume('q', { concurrency: 20 }, arrivals.handler);
    const behind = Array.from({ length: isFar(under) ? 1_000 : 3_000 }, () => messageTo('q', { key: 'k' }));
    await bus.publish([messageTo('q', { id: 'head', key: 'k' }), ...behind, messageTo('q', { id: 'free', key: 'other' })]);
    await untilQueue(bus, 'q', () => arrivals.ids.includes('free'));
    assert.deepEqual(arrivals.ids, ['head', 'free']);
    gate.resolve();
    await arrivals.count(behind.length + 3, 120_000);
    assert.deepEqual(arrivals.ids.slice(2), ['head', ...behind.map((m) => m.id)]);
    await untilQueue(bus, 'q', isEmpty);
  });

  test('a key with a long line goes as fast as one with a short line, and within a process no slower than messages of many keys', async (t) => {
    const bus = await under.open(t);
    const rateOf = async (name: string, count: number, keyOf: (n: number) => string): Promise<number> => {
      await bus.declare(queueOf(name, { ordered: true }));
      const sent = Array.from({ length: count }, (_, n) => messageTo(name, { key: keyOf(n) }));
      for (let at = 0; at < count; at += 1_000) await bus.publish(sent.slice(at, at + 1_000));
      const arrivals = new Arrivals();
      const began = performance.now();
      const consumer = await bus.consume(name, { concurrency: 8 }, arrivals.handler);
      await arrivals.count(count, 120_000);
      const rate = count / ((performance.now() - began) / 1_000);
      await consumer.stop(5_000);
      if (keyOf(0) === keyOf(1)) assert.deepEqual(arrivals.ids, sent.map((message) => message.id));
      return rate;
    };
    const [few, lots] = isFar(under) ? [200, 800] : [500, 5_000];
    await rateOf('warm-up', few, () => 'k');
    const short = await rateOf('short', few, () => 'k');
    const long = await rateOf('long', lots, () => 'k');
    t.diagnostic(`${Math.round(short)}/s in a short line, ${Math.round(long)}/s in a long one`);
    assert.ok(long > short / 4, `${long}/s in a long line, ${short}/s in a short one`);
    // Many keys share their ways.
    if (isFar(under)) return;
    const many = await rateOf('many', 2_500, (n) => `k${n}`);
    t.diagnostic(`${Math.round(many)}/s of many keys`);
    assert.ok(long > many / 3, `${long}/s of one key, ${many}/s of many`);
  });

  test('a message that must be tried again holds up those behind it that were taken with it', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true, attempts: 5, backoff: { firstMs: 30, factor: 1, mostMs: 30, jitter: 0 } }));
    const sent = Array.from({ length: 600 }, (_, n) => messageTo('q', { id: `m${String(n).padStart(3, '0')}`, key: 'k' }));
    const arrivals = new Arrivals(({ id, attempt }) => (id.endsWith('50') && attempt < 3 ? { kind: 'retry', reason: 'not yet' } : id.endsWith('75') ? { kind: 'dead', reason: 'never' } : { kind: 'done' }));
    await bus.publish(sent);
    await bus.consume('q', { concurrency: 4 }, arrivals.handler);
    await untilQueue(bus, 'q', isEmpty);
    assert.deepEqual(arrivals.messages.map(({ id, attempt }) => `${id} ${attempt}`), sent.flatMap(({ id }) => (id.endsWith('50') ? [`${id} 1`, `${id} 2`, `${id} 3`] : [`${id} 1`])));
    assert.equal((await stateOf(bus, 'q')).dead, 6);
  });

  test('of a line that goes on, a pause and a stop let only the message under way finish, and use up no try of the others', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true }));
    const gate = Promise.withResolvers<void>();
    const arrivals = new Arrivals(async ({ id }) => {
      if (id === 'm200') await gate.promise;
      return { kind: 'done' };
    });
    const sent = Array.from({ length: 400 }, (_, n) => messageTo('q', { id: `m${n}`, key: 'k' }));
    await bus.publish(sent);
    const consumer = await bus.consume('q', { concurrency: 4 }, arrivals.handler);
    await arrivals.count(201);
    await bus.pause('q', 'w1');
    const { inFlight, ready } = await stateOf(bus, 'q');
    assert.deepEqual([inFlight, inFlight + ready.normal >= 200], [1, true]);
    gate.resolve();
    await untilQueue(bus, 'q', (state) => state.inFlight === 0 && state.ready.normal === 199);
    assert.equal(arrivals.ids.length, 201);
    await consumer.stop(1_000);
    await bus.resume('q', 'w1');
    await bus.consume('q', { concurrency: 4 }, arrivals.handler);
    await untilQueue(bus, 'q', isEmpty);
    assert.deepEqual(arrivals.messages.map(({ id, attempt }) => `${id} ${attempt}`), sent.map(({ id }) => `${id} 1`));
  });

  test('purging the head frees the key; a requeued message comes before the later ones of its key', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true, attempts: 5, backoff: { firstMs: 60_000, factor: 1, mostMs: 60_000, jitter: 0 } }));
    let mood: Outcome['kind'] = 'retry';
    const arrivals = new Arrivals(({ id }) => (id.endsWith('1') ? { kind: mood as 'dead', reason: 'bad' } : { kind: 'done' }));
    const consumer = await bus.consume('q', { concurrency: 4 }, arrivals.handler);
    await bus.publish([messageTo('q', { id: 'a1', key: 'a' }), messageTo('q', { id: 'a2', key: 'a' })]);
    await untilQueue(bus, 'q', ({ waiting, inFlight }) => waiting === 1 && inFlight === 0);
    assert.equal(await purgeAll(bus, 'q', { dead: false, filter: { ids: ['a1'] } }), 1);
    await arrivals.count(2);
    mood = 'dead';
    await bus.publish([messageTo('q', { id: 'b1', key: 'b' })]);
    await untilQueue(bus, 'q', ({ dead, inFlight }) => dead === 1 && inFlight === 0);
    await consumer.stop(1_000);
    await bus.publish([messageTo('q', { id: 'b2', key: 'b' }), messageTo('q', { id: 'b3', key: 'b' })]);
    assert.equal(await requeueAll(bus, 'q'), 1);
    mood = 'done';
    await bus.consume('q', { concurrency: 4 }, arrivals.handler);
    await untilQueue(bus, 'q', isEmpty);
    assert.deepEqual(arrivals.ids, ['a1', 'a2', 'b1', 'b1', 'b2', 'b3']);
  });

  test('one purge takes every message of a key with its head', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true, attempts: 5, backoff: { firstMs: 1, factor: 1, mostMs: 1, jitter: 0 } }));
    const gate = Promise.withResolvers<Outcome>();
    const arrivals = new Arrivals(() => gate.promise);
    const sent = Array.from({ length: 600 }, (_, i) => messageTo('q', { key: `k${i % 10}` }));
    await bus.publish(sent);
    const consumer = await bus.consume('q', { concurrency: 20 }, arrivals.handler);
    await arrivals.count(10);
    await bus.pause('q');
    gate.resolve({ kind: 'retry', reason: 'bad' });
    await untilQueue(bus, 'q', ({ waiting, inFlight }) => waiting === 0 && inFlight === 0);
    assert.equal(await purgeAll(bus, 'q', { dead: false }), sent.length);
    assert.ok(isEmpty(await stateOf(bus, 'q')));
    assert.equal(arrivals.ids.length, 10, 'the heads, once');
    await consumer.stop(1_000);
  });

  test('a queue can become ordered, or cease to be, with its messages in it', async (t) => {
    const bus = await under.open(t);
    const declareAs = (ordered: boolean) => bus.declare(queueOf('q', { ordered }));
    const publishThree = (t: string) => bus.publish([1, 2, 3].map((n) => messageTo('q', { id: `${t}${n}`, key: 'k' })));
    await declareAs(false);
    await publishThree('a');
    await declareAs(true);
    const gate = Promise.withResolvers<void>();
    const ordered = new Arrivals(async () => {
      await gate.promise;
      return { kind: 'retry', reason: 'again', notBefore: Date.now() + 60_000 };
    });
    const consumer = await bus.consume('q', { concurrency: 5 }, ordered.handler);
    await ordered.count(1);
    gate.resolve();
    await untilQueue(bus, 'q', ({ inFlight }) => inFlight === 0);
    await consumer.stop(1_000);
    assert.deepEqual(ordered.ids, ['a1']);
    await declareAs(false);
    const free = new Arrivals();
    await bus.consume('q', { concurrency: 5 }, free.handler);
    await free.count(2);
    assert.deepEqual(free.ids.toSorted(), ['a2', 'a3']);
  });
});
