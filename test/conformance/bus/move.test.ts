import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FullBus } from '../../../src/fabric/bus-sides.ts';
import { MovableBus } from '../../../src/fabric/movable-bus.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { LANES } from '../../../src/kernel/message.ts';
import { busUnderTest, isEmpty, messageTo, onEachPairOfBuses, queueOf, stateOf, untilQueue } from '../../support/buses.ts';
import { silentLog } from '../../support/context.ts';
import { brittleBus, moveUnderTest, untilDone, untilState } from '../../support/moves.ts';
import { seeded } from '../../support/seed.ts';

/** A publisher never waits for longer. */
const AIM_MS = 1_000;
const HOUR_MS = 3_600_000;

onEachPairOfBuses('a move', (pair) => {
  const [from, to] = pair;

  test('takes everything along: what is ready, waits or is dead, with its tries, and what is paused', async (t) => {
    const { movable, old, target, noted, move } = await moveUnderTest(t, pair);
    const slow = queueOf('q', { ordered: true, attempts: 3, backoff: { firstMs: HOUR_MS, factor: 1, mostMs: HOUR_MS, jitter: 0 } });
    await movable.declare(slow);
    await movable.declare(queueOf('r'));
    await movable.publish([messageTo('q', { id: 'tried', key: 'k' }), messageTo('q', { id: 'dead' }), messageTo('q', { id: 'later', notBefore: Date.now() + HOUR_MS }), messageTo('r', { id: 'other' })]);
    const consumer = await movable.consume('q', { concurrency: 1 }, async ({ id }) => (id === 'dead' ? { kind: 'dead', reason: 'no such user' } : { kind: 'retry', reason: 'mailbox full' }));
    await untilQueue(movable, 'q', ({ waiting, dead }) => waiting + dead === 3);
    await movable.requeue('q', { filter: {} });
    await untilQueue(movable, 'q', ({ waiting, dead }) => waiting + dead === 3);
    await movable.pause('q', 'w7');
    await movable.pause('r');
    await movable.publish([messageTo('q', { id: 'behind', key: 'k' }), messageTo('q', { id: 'paused', workspace: 'w7' })]);
    const shown = async () => (await movable.inspect()).map(({ name, ready, waiting, dead, paused, pausedWorkspaces, consumers }) => ({ name, ready, waiting, dead, paused, pausedWorkspaces, consumers }));
    const before = await shown();
    await move();
    await untilDone(movable);
    assert.deepEqual(noted, [[], ['q'], ['q', 'r'], ['over']]);
    assert.deepEqual(await shown(), before);
    for (const state of await old.inspect()) assert.ok(isEmpty(state) && state.dead === 0, JSON.stringify(state));
    assert.deepEqual((await target.browse('q', { dead: true, limit: 9 })).messages.map(({ id, reason, attempts, history }) => [id, reason, attempts, history.map(({ times, reason }) => [times, reason])]), [['dead', 'no such user', 1, [[1, 'no such user'], [1, null], [1, 'no such user']]]]);
    await consumer.stop(1_000);
    assert.equal((await stateOf(movable, 'q')).consumers, 0);
  });

  test('reaches each subscriber of an event once and each key in order, whatever is done to the queues meanwhile', { timeout: 120_000 }, async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const { movable, old, move } = await moveUnderTest(t, pair);
    const names = ['a', 'b', 'c', 'd'];
    const settingsOf = (name: string) => queueOf(name, { ordered: true, topics: name === 'd' ? [] : ['suite.happened'], attempts: 1_000, backoff: { firstMs: 1, factor: 1, mostMs: 5, jitter: 1 } });
    for (const name of names) await movable.declare(settingsOf(name));
    const seen = new Map<string, string[]>();
    const consume = (name: string) => movable.consume(name, { concurrency: 1 + random.whole(8) }, async ({ id, queue }) => {
      if (random.whole(10) === 0) await sleep(random.whole(5));
      if (random.whole(10) === 0) return { kind: 'retry', reason: 'chance' };
      seen.set(queue, [...(seen.get(queue) ?? []), id]);
      return random.whole(200) === 0 ? { kind: 'dead', reason: 'chance' } : { kind: 'done' };
    });
    const consumers = await Promise.all(names.map(consume));
    const [events, jobs]: [string[], string[]] = [[], []];
    let isOn = true;
    const publishing = Array.from({ length: 8 }, async (_, publisher) => {
      for (let n = 0; isOn; ) {
        const batch = Array.from({ length: 1 + random.whole(5) }, () => messageTo('d', { id: `${publisher}-${n++}`, key: `k${publisher}`, lane: LANES[random.whole(3)]!, workspace: 'w1', ...(publisher % 2 === 0 && { to: { topic: 'suite.happened' } }) }));
        await movable.publish(batch);
        for (const { id } of batch) (publisher % 2 === 0 ? events : jobs).push(id);
        if (random.whole(4) === 0) await sleep(random.whole(4));
      }
    });
    const tending = (async () => {
      while (isOn) {
        const name = names[random.whole(names.length)]!;
        const acts = [() => movable.pause(name), () => movable.resume(name), () => movable.pause(name, 'w1'), () => movable.resume(name, 'w1'), () => movable.inspect().then(() => {})];
        // A queue whose turn it is is not tended; everything else must go.
        await acts[random.whole(acts.length)]!().catch((thrown: { reason?: string }) => assert.equal(thrown.reason, 'queue_moving'));
        if (random.whole(5) === 0) {
          const at = random.whole(names.length);
          await consumers[at]!.stop(1_000);
          consumers[at] = await consume(names[at]!);
        }
        await sleep(random.whole(10));
      }
    })();
    await sleep(random.whole(200));
    await move();
    await untilDone(movable);
    await sleep(50);
    isOn = false;
    await Promise.all([...publishing, tending]);
    for (const name of names) for (const workspace of [undefined, 'w1']) await movable.resume(name, workspace);
    for (const name of names) await untilQueue(movable, name, isEmpty);
    t.diagnostic(`${events.length} events, ${jobs.length} jobs, longest hold ${movable.progress!.longestHoldMs} ms`);
    for (const name of names) {
      const ids = seen.get(name)!;
      assert.equal(new Set(ids).size, ids.length, `${name}: some came twice`);
      assert.deepEqual(ids.toSorted(), (name === 'd' ? jobs : events).toSorted(), name);
      for (let publisher = 0; publisher < 8; publisher++) {
        const turns = ids.filter((id) => id.startsWith(`${publisher}-`)).map((id) => Number(id.split('-')[1]));
        assert.deepEqual(turns, turns.toSorted((a, b) => a - b), `${name}: the order of k${publisher}`);
      }
    }
    for (const state of await old.inspect()) assert.ok(isEmpty(state) && state.dead === 0);
  });

  test('of many messages holds no publisher up for long', { timeout: 120_000 }, async (t) => {
    const { movable, move } = await moveUnderTest(t, pair);
    for (const name of ['crowded', 'busy']) await movable.declare(queueOf(name));
    const payload = JSON.stringify('x'.repeat(1_000));
    for (let i = 0; i < 20; i++) await movable.publish(Array.from({ length: 1_000 }, () => messageTo('crowded', { payload })));
    let [isOn, longestMs, published] = [true, 0, 0];
    const load = Array.from({ length: 20 }, async (_, i) => {
      while (isOn) {
        const began = performance.now();
        await movable.publish([messageTo(i % 2 === 0 ? 'crowded' : 'busy', { payload })]);
        longestMs = Math.max(longestMs, performance.now() - began);
        published++;
        await sleep(5);
      }
    });
    const began = performance.now();
    await move();
    await untilDone(movable);
    const tookMs = performance.now() - began;
    isOn = false;
    await Promise.all(load);
    t.diagnostic(`20,000 messages of 1 KB moved in ${Math.round(tookMs)} ms while ${published} were published; longest publish ${Math.round(longestMs)} ms, longest hold ${movable.progress!.longestHoldMs} ms`);
    assert.ok(longestMs < AIM_MS, `a publisher waited for ${longestMs} ms`);
    const states = await movable.inspect();
    assert.equal(states.reduce((sum, { ready }) => sum + ready.normal, 0), 20_000 + published);
  });

  test('waits for what is being published when a queue changes sides', async (t) => {
    const under = busUnderTest(from);
    const place = under.place(t);
    const inner = under.create(t, place) as FullBus;
    const released = Promise.withResolvers<void>();
    const old = brittleBus(inner, { publish: () => released.promise });
    const movable = new MovableBus({ bus: old, clock: systemClock, log: silentLog });
    t.after(() => movable.stop(2_000));
    await movable.start();
    await movable.declare(queueOf('q'));
    const target = busUnderTest(to).create(t, busUnderTest(to).place(t)) as FullBus;
    let publishing: Promise<void> | undefined;
    // It begins after the queue's turn has come, and the old bus takes its time.
    const watched = brittleBus(target, {
      inspect: (queue) => {
        if (queue !== 'q' || publishing !== undefined) return false;
        publishing = movable.publish([messageTo('q', { id: 'slow' })]);
        setTimeout(released.resolve, 200);
        return false;
      },
    });
    await movable.move({ bus: watched, ledger: { note: async () => {}, close: async () => {} } });
    await untilDone(movable);
    await publishing;
    assert.equal((await stateOf(target, 'q')).ready.normal, 1);
  });

  test('tells those who watch of each event once, before, in the middle and after', async (t) => {
    const { movable, target, move } = await moveUnderTest(t, pair);
    await movable.declare(queueOf('q', { topics: ['suite.happened'] }));
    await movable.declare(queueOf('stuck'));
    const hints: string[] = [];
    const listener = { message: (_topic: string, _workspace: string | null, payload: string) => void hints.push(payload), gap() {} };
    const end = movable.watch(['suite.happened'], listener);
    const happen = (payload: string) => movable.publish([messageTo('', { to: { topic: 'suite.happened' }, payload })]);
    await happen('"before"');
    const brittle = brittleBus(target, { add: (queue) => isBroken && queue === 'stuck' });
    let isBroken = true;
    await movable.publish([messageTo('stuck')]);
    await move(brittle);
    await untilState(movable, 'failed');
    await happen('"middle"');
    isBroken = false;
    movable.goOn();
    await untilDone(movable);
    await happen('"after"');
    end();
    await happen('"unseen"');
    assert.deepEqual(hints, ['"before"', '"middle"', '"after"']);
  });
});
