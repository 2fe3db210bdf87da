import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FullBus } from '../../../src/fabric/bus-sides.ts';
import { Arrivals, busUnderTest, isEmpty, messageTo, onEachPairOfBuses, queueOf, requeueAll, stateOf, untilQueue } from '../../support/buses.ts';
import { rejectsWith } from '../../support/faults.ts';
import { brittleBus, moveUnderTest, untilDone, untilState } from '../../support/moves.ts';

const HOUR_MS = 3_600_000;

onEachPairOfBuses('a move in trouble', (pair) => {
  const [, to] = pair;

  test('that the new bus breaks leaves everything where it is, and goes on when asked again', async (t) => {
    const { movable, old, target, noted, move } = await moveUnderTest(t, pair);
    for (const name of ['first', 'second']) await movable.declare(queueOf(name));
    await movable.publish([messageTo('first'), messageTo('second')]);
    const arrivals = new Arrivals();
    let isBroken = true;
    await move(brittleBus(target, { add: (queue) => isBroken && queue === 'second' }));
    await untilState(movable, 'failed');
    assert.deepEqual(noted, [[], ['first']]);
    assert.deepEqual((await movable.inspect()).map(({ name, ready }) => [name, ready.normal]), [['second', 1], ['first', 1]]);
    await movable.publish([messageTo('first'), messageTo('second')]);
    await movable.consume('first', { concurrency: 1 }, arrivals.handler);
    await movable.consume('second', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(4);
    await untilQueue(movable, 'second', isEmpty);
    await movable.publish([messageTo('second', { notBefore: Date.now() + HOUR_MS })]);
    isBroken = false;
    movable.goOn();
    await untilDone(movable);
    assert.equal((await stateOf(target, 'second')).waiting, 1);
    assert.ok((await old.inspect()).every(isEmpty));
    assert.equal(arrivals.messages.length, 4);
  });

  test('that has stopped halfway is turned back: every queue is where it was, with what came meanwhile, and the new bus is empty', async (t) => {
    const { movable, old, target, ledger, move } = await moveUnderTest(t, pair);
    for (const name of ['first', 'second']) await movable.declare(queueOf(name));
    await movable.publish([messageTo('first', { notBefore: Date.now() + HOUR_MS }), messageTo('first', { key: 'k', id: 'a' }), messageTo('second')]);
    await move(brittleBus(target, { add: (queue) => queue === 'second' }));
    await untilState(movable, 'failed');
    const arrivals = new Arrivals();
    await movable.consume('first', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(1);
    await movable.publish([messageTo('first', { key: 'k', id: 'b' }), messageTo('second')]);
    const back: string[][] = [];
    await movable.turnBack({ note: async (moved) => void back.push([...moved]), close: async () => void back.push(['over']) });
    await movable.declare(queueOf('third'));
    await untilDone(movable);
    await movable.publish([messageTo('first', { key: 'k', id: 'c' }), messageTo('third')]);
    await arrivals.count(3);
    assert.deepEqual(arrivals.messages.map(({ id }) => id), ['a', 'b', 'c']);
    await untilQueue(old, 'first', ({ waiting, ready, inFlight }) => waiting === 1 && ready.normal + inFlight === 0);
    assert.deepEqual([await stateOf(old, 'second'), await stateOf(old, 'third')].map(({ ready }) => ready.normal), [2, 1]);
    assert.ok((await target.inspect()).every(isEmpty));
    assert.deepEqual([back[0], back.at(-1)], [['second'], ['over']]);
    await rejectsWith('conflict', movable.turnBack(ledger), 'no_move');
  });

  test('in whose last moment the new bus hangs holds publishers back for seconds at most, and leaves the queue where it is', async (t) => {
    const { movable, old, target, move } = await moveUnderTest(t, pair);
    await movable.declare(queueOf('q'));
    await movable.publish([messageTo('q')]);
    let looks = 0;
    // The first look is before the copying, the second one while publishing is held back.
    await move(brittleBus(target, { inspect: (queue) => queue === 'q' && ++looks === 2 && 'hangs' }));
    while (looks < 2) await sleep(1);
    const began = performance.now();
    await movable.publish([messageTo('q')]);
    const waitedMs = performance.now() - began;
    await untilState(movable, 'failed');
    assert.ok(waitedMs > 1_000 && waitedMs < 8_000, `${waitedMs} ms`);
    assert.match(movable.progress!.problem!, /could not be taken over in time/);
    assert.equal((await stateOf(old, 'q')).ready.normal, 2);
    // What is handled now must not be there again later, though its copy is on the new bus.
    const arrivals = new Arrivals();
    const consumer = await movable.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(2);
    await untilQueue(movable, 'q', isEmpty);
    await consumer.stop(1_000);
    await movable.publish([messageTo('q')]);
    movable.goOn();
    await untilDone(movable);
    assert.equal((await stateOf(target, 'q')).ready.normal, 1);
  });

  test('that cannot be written down leaves the queue on the old bus', async (t) => {
    const { movable, old, target, ledger, move } = await moveUnderTest(t, pair);
    await movable.declare(queueOf('q'));
    await movable.publish([messageTo('q')]);
    let isFull = true;
    await move(target, { ...ledger, note: async (moved) => {
      if (isFull && moved.length > 0) throw new Error('disk full');
      await ledger.note(moved);
    } });
    await untilState(movable, 'failed');
    await movable.publish([messageTo('q')]);
    assert.equal((await stateOf(old, 'q')).ready.normal, 2);
    isFull = false;
    movable.goOn();
    await untilDone(movable);
    assert.equal((await stateOf(target, 'q')).ready.normal, 2);
  });

  test('of which nobody knows whether it was written down touches the queue on neither side', async (t) => {
    const { movable, old, target, ledger, move } = await moveUnderTest(t, pair);
    for (const name of ['q', 'other']) await movable.declare(queueOf(name));
    await movable.publish([messageTo('q')]);
    const arrivals = new Arrivals();
    await movable.pause('q');
    await movable.consume('q', { concurrency: 1 }, arrivals.handler);
    let isBegun = false;
    await move(target, { ...ledger, note: async (moved) => {
      if (isBegun) throw new Error('disk gone');
      isBegun = true;
      await ledger.note(moved);
    } });
    await untilState(movable, 'failed');
    await rejectsWith('unavailable', movable.publish([messageTo('q')]), 'move_undecided');
    await rejectsWith('unavailable', movable.resume('q'), 'queue_moving');
    await movable.publish([messageTo('other')]);
    movable.goOn();
    await untilState(movable, 'failed');
    assert.deepEqual([(await stateOf(old, 'q')).ready.normal, (await stateOf(target, 'q')).ready.normal, arrivals.ids], [1, 1, []]);
  });

  test('is refused where messages are already, or would not fit', async (t) => {
    const { movable, target, noted, move } = await moveUnderTest(t, pair);
    await movable.declare(queueOf('q'));
    await target.start();
    await target.declare(queueOf('foreign'));
    await target.publish([messageTo('foreign')]);
    await rejectsWith('conflict', move(), 'target_not_empty');
    const under = busUnderTest(to);
    await rejectsWith('invalid', move(under.create(t, under.place(t), { maxMessageBytes: 2_000 }) as FullBus), 'target_too_small');
    assert.deepEqual([noted, movable.progress], [[], undefined]);
    await movable.publish([messageTo('q')]);
    assert.equal((await stateOf(movable, 'q')).ready.normal, 1);
  });

  test('stops where somebody consumes on the new bus already', async (t) => {
    const { movable, target, move } = await moveUnderTest(t, pair);
    await movable.declare(queueOf('q'));
    await movable.publish([messageTo('q')]);
    await target.start();
    await target.declare(queueOf('q'));
    const arrivals = new Arrivals();
    const early = await target.consume('q', { concurrency: 1 }, arrivals.handler);
    await move();
    await untilState(movable, 'failed');
    assert.match(movable.progress!.problem!, /consumes q on the new bus already/);
    await early.stop(1_000);
    movable.goOn();
    await untilDone(movable);
    assert.deepEqual([(await stateOf(target, 'q')).ready.normal, arrivals.ids], [1, []]);
  });

  test('takes up queues that are declared, and dead messages that are requeued, while it has stopped halfway', async (t) => {
    const { movable, target, move } = await moveUnderTest(t, pair);
    for (const name of ['first', 'stuck']) await movable.declare(queueOf(name));
    const brittle = brittleBus(target, { add: (queue) => isBroken && queue === 'stuck' });
    let isBroken = true;
    await movable.publish([messageTo('first'), messageTo('stuck')]);
    const consumer = await movable.consume('first', { concurrency: 1 }, async () => ({ kind: 'dead', reason: 'bad' }));
    await untilQueue(movable, 'first', ({ dead }) => dead === 1);
    await consumer.stop(1_000);
    await move(brittle);
    await untilState(movable, 'failed');
    await movable.declare(queueOf('young', { topics: ['suite.happened'] }));
    await movable.publish([messageTo('', { to: { topic: 'suite.happened' } })]);
    assert.equal(await requeueAll(movable, 'first'), 1);
    assert.equal((await stateOf(target, 'young')).ready.normal, 1);
    isBroken = false;
    movable.goOn();
    await untilDone(movable);
    assert.deepEqual((await movable.inspect()).map(({ name, ready }) => [name, ready.normal]).toSorted(), [['first', 1], ['stuck', 1], ['young', 1]]);
  });
});
