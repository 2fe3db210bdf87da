import assert from 'node:assert/strict';
import { after, before, describe, test, type TestContext as Test } from 'node:test';
import { Connection, type Delivery } from '../../../../adapters/bus/activemq/connection.ts';
import { busDrivers } from '../../../../adapters/bus/catalog.ts';
import { busSharing } from '../../../../src/app/host/bus-sharing.ts';
import { systemClock } from '../../../../src/kernel/clock.ts';
import { newId } from '../../../../src/kernel/ids.ts';
import type { Bus } from '../../../../src/ports/bus.ts';
import { viewOf } from '../../../../src/ports/queues.ts';
import { ActiveMqServer } from '../../../support/activemq.ts';
import { Arrivals, isEmpty, messageTo, queueOf, sqliteAt, untilQueue, within } from '../../../support/buses.ts';
import { testContext } from '../../../support/context.ts';
import { WorkerProgram } from '../../../support/worker-program.ts';

let broker: ActiveMqServer;

const QUEUE = 'worker.w';
const HOUR_MS = 3_600_000;

/** A deployment with one queue for workers, and what a program of another language does there: frames, and nothing of ours. */
function deployment(t: Test, worker: object = {}, settings: object = {}) {
  const { activemq } = busDrivers;
  const prefix = `workers-${newId()}`;
  const parsed = activemq.settings.parse({ port: broker.port, prefix, heartbeatMs: 1_000, workers: { w: worker }, ...settings });
  return {
    prefix,
    async bus(change: object = {}): Promise<Bus> {
      const place = testContext();
      const bus = activemq.create(parsed, { ...place, openStorage: sqliteAt(place), sharing: busSharing(place) });
      t.after(async () => {
        await bus.stop(1_000);
        place.remove();
      });
      await bus.start();
      await bus.declare(queueOf(QUEUE, change));
      return bus;
    },
    async program(): Promise<WorkerProgram> {
      const connection = await Connection.open(parsed, systemClock);
      t.after(() => connection.close());
      return new WorkerProgram(connection, prefix);
    },
  };
}

const idsOf = ({ given }: WorkerProgram) => given.map(({ headers }) => headers.id);

describe('programs of other languages on an activemq bus', () => {
  before(async () => void (broker = await ActiveMqServer.start()));
  after(() => broker.remove());

  test('are given each message with its headers, and end it with their answer', async (t) => {
    const { bus: open, program } = deployment(t);
    const bus = await open();
    const worker = (await program()).works(QUEUE);
    await bus.publish([messageTo(QUEUE, { id: 'm1', key: 'Zoë 50%', lane: 'urgent', time: 1_700_000_000_000, payload: '{"größe":"ü"}' })]);
    const given = await worker.nth(1);
    const { hand, id, queue, name, workspace, key, lane, attempt, time, traceparent } = given.headers;
    assert.deepEqual({ id, queue, name, workspace, key, lane, attempt, time, traceparent, payload: given.body.toString() }, {
      id: 'm1', queue: QUEUE, name: 'suite.message', workspace: 'w1', key: 'Zo%C3%AB 50%25', lane: 'urgent', attempt: '1', time: '1700000000000',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', payload: '{"größe":"ü"}',
    });
    assert.ok(hand);
    await worker.answer(given, 'done');
    assert.ok(isEmpty(await untilQueue(bus, QUEUE, isEmpty)));
  });

  test('say why a message failed: it is tried again with its tries counted, and ends in the error queue with the reason', async (t) => {
    const { bus: open, program } = deployment(t);
    const bus = await open({ attempts: 2 });
    const worker = (await program()).works(QUEUE);
    await bus.publish([messageTo(QUEUE, { id: 'm1' }), messageTo(QUEUE, { id: 'm2' })]);
    for (const id of ['m1', 'm2']) {
      const one = await untilGiven(worker, id, 1);
      await worker.answer(one, id === 'm1' ? 'retry' : 'dead', `weil ${id} für ünmöglich gilt`);
    }
    await worker.answer(await untilGiven(worker, 'm1', 2), 'retry', 'zum zweiten Mal');
    await untilQueue(bus, QUEUE, ({ dead, inFlight }) => dead === 2 && inFlight === 0);
    const { messages } = await bus.browse(QUEUE, { dead: true, limit: 10 });
    assert.deepEqual(messages.map(({ id, attempts, reason }) => ({ id, attempts, reason })).toSorted((a, b) => (a.id < b.id ? -1 : 1)), [
      { id: 'm1', attempts: 2, reason: 'zum zweiten Mal' },
      { id: 'm2', attempts: 1, reason: 'weil m2 für ünmöglich gilt' },
    ]);
  });

  test('are given messages of one key one at a time, and never more than the concurrency', async (t) => {
    const { bus: open, program } = deployment(t, { concurrency: 3 });
    const bus = await open({ ordered: true });
    const worker = (await program()).works(QUEUE, 100);
    await bus.publish(['a1', 'a2', 'b1', 'c1', 'd1'].map((id) => messageTo(QUEUE, { id, key: id[0]! })));
    await worker.nth(3);
    assert.deepEqual(idsOf(worker), ['a1', 'b1', 'c1']);
    const done = [...worker.given];
    await worker.answer(done[2]!, 'done');
    assert.equal((await worker.nth(4)).headers.id, 'd1');
    await worker.answer(done[0]!, 'done');
    assert.equal((await worker.nth(5)).headers.id, 'a2');
  });

  test('that die or are paused lose nothing: the broker gives the message to the next one', async (t) => {
    const { bus: open, program } = deployment(t);
    const bus = await open();
    const first = (await program()).works(QUEUE);
    await bus.publish([messageTo(QUEUE, { id: 'm1' })]);
    await first.nth(1);
    first.connection.close();
    const second = (await program()).works(QUEUE);
    const again = await second.nth(1);
    assert.deepEqual([again.headers.id, again.headers.attempt], ['m1', '1']);
    await bus.pause(QUEUE);
    await second.answer(again, 'done');
    await untilQueue(bus, QUEUE, isEmpty);
    await bus.publish([messageTo(QUEUE, { id: 'm2' })]);
    await untilQueue(bus, QUEUE, ({ ready, inFlight }) => ready.normal === 1 && inFlight === 0);
    await bus.resume(QUEUE);
    assert.equal((await second.nth(2)).headers.id, 'm2');
  });

  test('that do not answer in time have used a try; what they say later counts for nothing, and their message goes to nobody else', async (t) => {
    const { bus: open, program } = deployment(t, { answerWithinMs: 1_000 });
    const bus = await open();
    const silent = (await program()).works(QUEUE, 1);
    await bus.publish([messageTo(QUEUE, { id: 'm1' })]);
    const old = await silent.nth(1);
    const other = (await program()).works(QUEUE);
    const second = await other.nth(1);
    assert.deepEqual([second.headers.id, second.headers.attempt], ['m1', '2']);
    await other.answer(second, 'working');
    // The acknowledgement went with it: only an answer in time ends it now.
    await silent.send('done', 'too late', { hand: old.headers.hand!, outcome: 'dead' });
    silent.connection.close();
    await other.send('done', '', { hand: second.headers.hand!, outcome: 'done' });
    await untilQueue(bus, QUEUE, (state) => isEmpty(state) && state.dead === 0);
    await bus.publish([messageTo(QUEUE, { id: 'm2' })]);
    await untilGiven(other, 'm2', 1);
    assert.deepEqual(idsOf(other), ['m1', 'm2']);
  });

  test('that say they work on it have the time anew', async (t) => {
    const { bus: open, program } = deployment(t, { answerWithinMs: 1_000 });
    const bus = await open();
    const worker = (await program()).works(QUEUE);
    await bus.publish([messageTo(QUEUE, { id: 'm1' })]);
    const { headers } = await worker.nth(1);
    const until = Date.now() + 3_500;
    while (Date.now() < until) {
      await worker.send('done', '', { hand: headers.hand!, outcome: 'working' });
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await worker.answer(worker.given[0]!, 'done');
    await untilQueue(bus, QUEUE, isEmpty);
    assert.deepEqual(idsOf(worker), ['m1']);
  });

  test('that are not there leave their queue unattended, not busy, also as other hosts see it', async (t) => {
    const { bus: open, program } = deployment(t, { concurrency: 1 });
    const [bus, other] = [await open(), await open()];
    const worker = (await program()).works(QUEUE, 1);
    await bus.publish([messageTo(QUEUE), messageTo(QUEUE)]);
    await worker.nth(1);
    await untilQueue(bus, QUEUE, (state) => viewOf(state).status === 'busy');
    worker.connection.close();
    for (const one of [bus, other]) assert.equal(viewOf(await untilQueue(one, QUEUE, ({ isAttended, inFlight }) => isAttended === false && inFlight === 1)).status, 'unattended');
    const next = (await program()).works(QUEUE, 1);
    await untilQueue(bus, QUEUE, ({ isAttended }) => isAttended !== false);
    for (const n of [1, 2]) await next.answer(await next.nth(n), 'done');
    await untilQueue(bus, QUEUE, isEmpty);
  });

  test('that are not there use up no tries', async (t) => {
    const { bus: open, program } = deployment(t, { answerWithinMs: 1_000 });
    const bus = await open({ attempts: 1 });
    await bus.publish([messageTo(QUEUE, { id: 'm1' })]);
    await within(20_000, untilReason(bus, /not_taken/), () => 'it was never taken back');
    const worker = (await program()).works(QUEUE);
    const given = await worker.nth(1);
    assert.equal(given.headers.attempt, '1');
    await worker.answer(given, 'done');
    await untilQueue(bus, QUEUE, isEmpty);
  });

  test('are not given what a keeper before had handed out and nobody had taken', async (t) => {
    const { bus: open, program } = deployment(t);
    const sender = await program();
    await sender.send(`work.${QUEUE}`, '{}', { hand: `${newId()}.1`, id: 'm1', queue: QUEUE });
    const bus = await open();
    await bus.publish([messageTo(QUEUE, { id: 'm1' })]);
    const worker = (await program()).works(QUEUE);
    await worker.answer(await worker.nth(1), 'done');
    await bus.publish([messageTo(QUEUE, { id: 'm2' })]);
    await worker.answer(await worker.nth(2), 'done');
    assert.deepEqual(idsOf(worker), ['m1', 'm2']);
    assert.equal(worker.given[0]!.headers.attempt, '1');
    assert.ok(isEmpty(await untilQueue(bus, QUEUE, isEmpty)));
  });

  test('are not given what another one has of a keeper before, when that one dies', async (t) => {
    const { bus: open, program } = deployment(t);
    const holder = (await program()).works(QUEUE, 1);
    await holder.send(`work.${QUEUE}`, '{}', { hand: `${newId()}.1`, id: 'old', queue: QUEUE });
    await holder.nth(1);
    const workers = await Promise.all(Array.from({ length: 3 }, async () => (await program()).works(QUEUE)));
    const bus = await open();
    await bus.publish([messageTo(QUEUE, { id: 'm1' })]);
    await Promise.race(workers.map((worker) => worker.nth(1)));
    holder.connection.close();
    await bus.publish(Array.from({ length: 6 }, (_, n) => messageTo(QUEUE, { id: `m${n + 2}` })));
    const given = () => workers.flatMap(idsOf);
    for (const end = Date.now() + 20_000; given().length < 7 && Date.now() < end; ) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(given().toSorted(), ['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7']);
  });

  test('see a stop of the keeper only by what comes from the next one: nothing twice, no try used', async (t) => {
    const { bus: open, program } = deployment(t, { concurrency: 2 });
    const first = await open();
    // It keeps the messages next.
    await open();
    const worker = (await program()).works(QUEUE, 1);
    await first.publish([messageTo(QUEUE, { id: 'm1' }), messageTo(QUEUE, { id: 'm2' })]);
    const taken = await worker.nth(1);
    const stopped = first.stop(10_000);
    // Only when m2 has been taken back can the bus be done.
    await worker.answer(taken, 'done');
    await stopped;
    const next = await worker.nth(2);
    assert.deepEqual([next.headers.id, next.headers.attempt], [taken.headers.id === 'm1' ? 'm2' : 'm1', '1']);
    await worker.answer(next, 'done');
  });

  test('go on after a crash of the broker with what they had', async (t) => {
    const { bus: open, program } = deployment(t);
    const bus = await open();
    const worker = (await program()).works(QUEUE);
    await bus.publish([messageTo(QUEUE, { id: 'm1' })]);
    const { headers } = await worker.nth(1);
    await broker.kill();
    await broker.up();
    const again = (await program()).works(QUEUE);
    const given = await again.nth(1, 60_000);
    assert.deepEqual([given.headers.id, given.headers.hand], ['m1', headers.hand]);
    await again.answer(given, 'done');
    await within(60_000, untilEmptyAgain(bus), () => 'the answer did not count');
  });

  test('send in jobs and events, each stored once however often it comes under its id', async (t) => {
    const { bus: open, program } = deployment(t);
    const bus = await open();
    await bus.declare(queueOf('q', { topics: ['worker.scored'] }));
    await bus.pause('q');
    const sender = await program();
    await sender.send('in.q', '{"n":1}', { id: 'j1', name: 'a.job', workspace: 'w9', key: 'Zo%C3%AB', lane: 'bulk', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    await sender.send('in.q', '{"n":1}', { id: 'j1' });
    await sender.send('in.q', '{"n":2}');
    await sender.send('event.worker.scored', '{"n":3}', { id: 'e1', notBefore: String(Date.now() + HOUR_MS) });
    await untilQueue(bus, 'q', ({ ready, waiting }) => ready.normal + ready.bulk === 2 && waiting === 1);
    const { messages } = await bus.browse('q', { dead: false, limit: 10 });
    assert.deepEqual(messages.map(({ payload }) => payload).toSorted(), ['{"n":1}', '{"n":2}', '{"n":3}']);
    const [job, event] = ['j1', 'e1'].map((id) => messages.find((message) => message.id === id)!);
    assert.deepEqual([job!.name, job!.workspace, job!.key, job!.lane], ['a.job', 'w9', 'Zoë', 'bulk']);
    assert.deepEqual([event!.name, event!.workspace, event!.key, event!.lane], ['worker.scored', null, null, 'normal']);
    assert.ok(Math.abs(job!.time - Date.now()) < 60_000);
  });

  test('are told why what they sent in is refused, and hold up nobody', async (t) => {
    const { bus: open, program } = deployment(t, {}, { maxMessageBytes: 1_024 });
    const bus = await open();
    await bus.declare(queueOf('q'));
    const sender = (await program()).reads('refused');
    const bad: [string, string | Buffer, Record<string, string>][] = [
      ['in.q', `"${'x'.repeat(1_024)}"`, { id: 'large', key: 'k' }],
      ['in.q', Buffer.from([0x22, 0xff, 0x22]), { id: 'bytes' }],
      ['in.q', '{}', { id: 'percent', workspace: '50%' }],
      ['in.q', '{}', { id: 'lane', lane: 'fast' }],
      ['in.q', '{}', { id: 'soon', notBefore: 'soon' }],
    ];
    for (const [destination, body, headers] of bad) await sender.send(destination, body, headers);
    await sender.send('in.q', '{"good":true}', Object.fromEntries([['id', 'good'], ...Array.from({ length: 300 }, (_, n) => [`x${n}`, 'y'])]));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(1);
    assert.deepEqual(arrivals.ids, ['good']);
    await sender.nth(bad.length);
    const refused = Object.fromEntries(sender.given.map(({ headers: { id, reason } }) => [id, reason!.split(':')[0]]));
    assert.deepEqual(refused, { large: 'invalid/too_large', bytes: 'invalid/payload_invalid', percent: 'invalid/header_invalid', lane: 'invalid/lane', soon: 'invalid/time' });
    const large = sender.given.find(({ headers }) => headers.id === 'large')!;
    assert.deepEqual([large.headers['sent-to']!.endsWith('.in.q'), large.headers.key, large.body.length], [true, 'k', 1_026]);
    assert.deepEqual(sender.given.find(({ headers }) => headers.id === 'bytes')!.body, Buffer.from([0x22, 0xff, 0x22]));
  });

  test('are told so, too, where what is refused has headers that grow on their way', async (t) => {
    const { bus: open, program } = deployment(t);
    const bus = await open();
    const sender = (await program()).reads('refused');
    const long = { colons: { key: ':'.repeat(5_000) }, quotes: { lane: '"'.repeat(6_000) }, letters: { lane: 'ü'.repeat(4_000) } };
    for (const [id, headers] of Object.entries(long)) await sender.send(`in.${QUEUE}`, '{}', { id, ...headers });
    await sender.nth(3);
    assert.deepEqual(sender.given.map(({ headers: { id } }) => id), Object.keys(long));
    assert.equal(bus.problem, undefined);
  });

  test('send in before a queue is there: it is kept, and taken up in its order when somebody declares the queue', async (t) => {
    const { bus: open, program } = deployment(t);
    const [first, other] = [await open(), await open()];
    const sender = await program();
    for (let n = 1; n <= 4; n++) await sender.send('in.later', `{"n":${n}}`, { ...(n < 4 ? { id: `j${n}` } : {}), workspace: 'w9', key: 'Zo%C3%AB', lane: 'bulk' });
    await sender.send('in.q', '{}', { id: 'last' });
    await first.declare(queueOf('q'));
    await untilQueue(first, 'q', ({ ready }) => ready.normal === 1);
    // By another process than the one that keeps the messages.
    await other.declare(queueOf('later', { ordered: true }));
    await untilQueue(other, 'later', ({ ready }) => ready.bulk === 4, 20_000);
    const { messages } = await other.browse('later', { dead: false, limit: 10 });
    assert.deepEqual(messages.map(({ payload }) => JSON.parse(payload).n), [1, 2, 3, 4]);
    assert.deepEqual([messages[0]!.id, messages[0]!.name, messages[0]!.workspace, messages[0]!.key], ['j1', 'later', 'w9', 'Zoë']);
    assert.ok(Math.abs(messages[0]!.time - Date.now()) < 60_000);
  });

  test('are not refused while the bus has no room: what they send waits, and keeps its order', async (t) => {
    const { bus: open, program } = deployment(t, {}, { maxBacklog: 2 });
    const bus = await open();
    await bus.declare(queueOf('q', { ordered: true }));
    const sender = (await program()).reads('refused');
    for (let n = 1; n <= 6; n++) await sender.send('in.q', '{}', { id: `j${n}`, key: 'k' });
    await untilQueue(bus, 'q', ({ ready }) => ready.normal === 2);
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 2 }, arrivals.handler);
    await arrivals.count(6, 60_000);
    assert.deepEqual(arrivals.ids, ['j1', 'j2', 'j3', 'j4', 'j5', 'j6']);
    assert.deepEqual(sender.given, []);
  });

  test('answer more than the broker has memory for, which keeps nothing of it', async (t) => {
    const small = await ActiveMqServer.start({ heapMb: 64 });
    t.after(() => small.remove());
    const { bus: open, program } = deployment(t, {}, { port: small.port });
    const bus = await open();
    const worker = (await program()).works(QUEUE);
    const reason = Buffer.alloc(3 * 1024 * 1024, 'x');
    for (let n = 0; n < 24; n++) await worker.send('done', reason, { hand: `nobody.${n}`, outcome: 'retry' });
    await bus.publish([messageTo(QUEUE)]);
    await worker.answer(await worker.nth(1), 'done');
    await untilQueue(bus, QUEUE, isEmpty);
    assert.equal(bus.problem, undefined);
  });

  test('are never given what is not JSON: it goes to the error queue with the reason, and the queue goes on', async (t) => {
    const { bus: open, program } = deployment(t);
    const bus = await open();
    const worker = (await program()).works(QUEUE);
    await worker.send(`in.${QUEUE}`, '{"half":', { id: 'bad' });
    await worker.send(`in.${QUEUE}`, '{"whole":true}', { id: 'good' });
    await worker.answer(await worker.nth(1), 'done');
    await untilQueue(bus, QUEUE, (state) => isEmpty(state) && state.dead === 1);
    assert.deepEqual(idsOf(worker), ['good']);
    assert.equal((await bus.browse(QUEUE, { dead: true, limit: 1 })).messages[0]!.reason, 'invalid/payload_invalid: The payload is not JSON.');
  });
});

async function untilGiven(program: WorkerProgram, id: string, attempt: number): Promise<Delivery> {
  for (let n = 1; ; n++) {
    const delivery = await program.nth(n);
    if (delivery.headers.id === id && delivery.headers.attempt === String(attempt)) return delivery;
  }
}

async function untilReason(bus: Bus, reason: RegExp): Promise<void> {
  for (;;) {
    const { messages } = await bus.browse(QUEUE, { dead: false, limit: 1 });
    if (reason.test(messages[0]?.reason ?? '')) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** While the broker comes back, it cannot be asked. */
async function untilEmptyAgain(bus: Bus): Promise<void> {
  for (;;) {
    const states = await bus.inspect().catch(() => []);
    if (states.some((state) => state.name === QUEUE && isEmpty(state))) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
