import assert from 'node:assert/strict';
import { type TestContext as Test, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MoveLedger, MoveProgress } from '../../../src/fabric/bus-move.ts';
import type { FullBus } from '../../../src/fabric/bus-sides.ts';
import { MovableBus } from '../../../src/fabric/movable-bus.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { LANES } from '../../../src/kernel/message.ts';
import { Arrivals, busUnderTest, isEmpty, messageTo, onEachPairOfBuses, queueOf, requeueAll, stateOf, untilQueue } from '../../support/buses.ts';
import { silentLog } from '../../support/context.ts';
import { rejectsWith } from '../../support/faults.ts';
import { seeded } from '../../support/seed.ts';

/** A publisher never waits for longer. */
const AIM_MS = 1_000;
const HOUR_MS = 3_600_000;

onEachPairOfBuses('a move', ([from, to]) => {
  /** The old bus, started behind the movable one; the new one, not started. */
  async function buses(t: Test): Promise<{ movable: MovableBus; old: FullBus; target: FullBus; noted: string[][]; ledger: MoveLedger; move(bus?: FullBus, ledger?: MoveLedger): Promise<void> }> {
    const [old, target] = [from, to].map((driver) => {
      const under = busUnderTest(driver);
      return under.create(t, under.place(t)) as FullBus;
    }) as [FullBus, FullBus];
    const movable = new MovableBus({ bus: old, clock: systemClock, log: silentLog });
    t.after(() => movable.stop(2_000));
    await movable.start();
    const noted: string[][] = [];
    const own: MoveLedger = { note: async (moved) => void noted.push([...moved]), close: async () => void noted.push(['over']) };
    return { movable, old, target, noted, ledger: own, move: (bus = target, ledger = own) => movable.move({ bus, ledger }) };
  }

  test('takes everything along: what is ready, waits or is dead, with its tries, and what is paused', async (t) => {
    const { movable, old, target, noted, move } = await buses(t);
    const slow = queueOf('q', { ordered: true, attempts: 3, backoff: { firstMs: HOUR_MS, factor: 1, mostMs: HOUR_MS, jitter: 0 } });
    await movable.declare(slow);
    await movable.declare(queueOf('r'));
    await movable.publish([messageTo('q', { id: 'tried', key: 'k' }), messageTo('q', { id: 'dead' }), messageTo('q', { id: 'later', notBefore: Date.now() + HOUR_MS }), messageTo('r', { id: 'other' })]);
    const consumer = await movable.consume('q', { concurrency: 1 }, async ({ id }) => (id === 'dead' ? { kind: 'dead', reason: 'no such user' } : { kind: 'retry', reason: 'mailbox full' }));
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
    assert.deepEqual((await target.browse('q', { dead: true, limit: 9 })).messages.map(({ id, reason, attempts }) => [id, reason, attempts]), [['dead', 'no such user', 1]]);
    await consumer.stop(1_000);
    assert.equal((await stateOf(movable, 'q')).consumers, 0);
  });

  test('reaches each subscriber of an event once and each key in order, whatever is done to the queues meanwhile', { timeout: 120_000 }, async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const { movable, old, move } = await buses(t);
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
    const { movable, move } = await buses(t);
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

  test('that the new bus breaks leaves everything where it is, and goes on when asked again', async (t) => {
    const { movable, old, target, noted, move } = await buses(t);
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

  test('in whose last moment the new bus hangs holds publishers back for seconds at most, and leaves the queue where it is', async (t) => {
    const { movable, old, target, move } = await buses(t);
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

  test('that cannot be written down leaves the queue on the old bus', async (t) => {
    const { movable, old, target, ledger, move } = await buses(t);
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
    const { movable, old, target, ledger, move } = await buses(t);
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
    const { movable, target, noted, move } = await buses(t);
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
    const { movable, target, move } = await buses(t);
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

  test('tells those who watch of each event once, before, in the middle and after', async (t) => {
    const { movable, target, move } = await buses(t);
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

  test('takes up queues that are declared, and dead messages that are requeued, while it has stopped halfway', async (t) => {
    const { movable, target, move } = await buses(t);
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

type Trouble = false | true | 'hangs';

/** A bus that throws or hangs where it is told to. */
function brittleBus(bus: FullBus, at: { readonly add?: (queue: string) => Trouble; readonly inspect?: (queue: string | undefined) => Trouble; /** What a publish waits for. */ readonly publish?: () => Promise<void> }): FullBus {
  const guard = async <T>(trouble: Trouble | undefined, work: () => Promise<T>): Promise<T> => {
    if (trouble === 'hangs') return new Promise(() => {});
    if (trouble === true) throw new Error('broken');
    return work();
  };
  const { contents } = bus;
  const own: Partial<FullBus> = {
    contents: { place: contents.place, queues: () => contents.queues(), read: (...args) => contents.read(...args), add: (...args) => guard(at.add?.(args[0]), () => contents.add(...args)) },
    inspect: (which) => guard(at.inspect?.(which?.queue), () => bus.inspect(which)),
    publish: async (messages) => {
      await at.publish?.();
      await bus.publish(messages);
    },
  };
  return new Proxy(bus, {
    get(_, name) {
      if (name in own) return own[name as keyof FullBus];
      const value: unknown = Reflect.get(bus, name, bus);
      return typeof value === 'function' ? value.bind(bus) : value;
    },
  });
}

async function untilState(movable: MovableBus, state: MoveProgress['state']): Promise<void> {
  for (const end = Date.now() + 60_000; movable.progress?.state !== state; await sleep(2)) {
    if (Date.now() > end) throw new Error(`the move is ${JSON.stringify(movable.progress)}`);
    if (state === 'done' && movable.progress?.state === 'failed') throw new Error(movable.progress.problem!);
  }
}

const untilDone = (movable: MovableBus) => untilState(movable, 'done');
