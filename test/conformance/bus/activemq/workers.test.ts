import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Delivery } from '../../../../adapters/bus/activemq/connection.ts';
import type { Bus } from '../../../../src/ports/bus.ts';
import { viewOf } from '../../../../src/ports/queues.ts';
import { newId } from '../../../../src/kernel/ids.ts';
import { ActiveMqServer } from '../../../support/activemq.ts';
import { isEmpty, messageTo, untilQueue, within } from '../../../support/buses.ts';
import { idsGiven, WORKER_QUEUE, workerDeployment, type WorkerProgram } from '../../../support/worker-program.ts';

let broker: ActiveMqServer;

describe('programs of other languages on an activemq bus', () => {
  before(async () => void (broker = await ActiveMqServer.start()));
  after(() => broker.remove());

  test('are given each message with its headers, and end it with their answer', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const bus = await open();
    const worker = (await program()).works(WORKER_QUEUE);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm1', key: 'Zoë 50%', lane: 'urgent', time: 1_700_000_000_000, payload: '{"größe":"ü"}' })]);
    const given = await worker.nth(1);
    const { hand, id, queue, name, workspace, key, lane, attempt, time, traceparent } = given.headers;
    assert.deepEqual({ id, queue, name, workspace, key, lane, attempt, time, traceparent, payload: given.body.toString() }, {
      id: 'm1', queue: WORKER_QUEUE, name: 'suite.message', workspace: 'w1', key: 'Zo%C3%AB 50%25', lane: 'urgent', attempt: '1', time: '1700000000000',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', payload: '{"größe":"ü"}',
    });
    assert.ok(hand);
    await worker.answer(given, 'done');
    assert.ok(isEmpty(await untilQueue(bus, WORKER_QUEUE, isEmpty)));
  });

  test('say why a message failed: it is tried again with its tries counted, and ends in the error queue with the reason', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const bus = await open({ attempts: 2 });
    const worker = (await program()).works(WORKER_QUEUE);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm1' }), messageTo(WORKER_QUEUE, { id: 'm2' })]);
    for (const id of ['m1', 'm2']) {
      const one = await untilGiven(worker, id, 1);
      await worker.answer(one, id === 'm1' ? 'retry' : 'dead', `weil ${id} für ünmöglich gilt`);
    }
    await worker.answer(await untilGiven(worker, 'm1', 2), 'retry', 'zum zweiten Mal');
    await untilQueue(bus, WORKER_QUEUE, ({ dead, inFlight }) => dead === 2 && inFlight === 0);
    const { messages } = await bus.browse(WORKER_QUEUE, { dead: true, limit: 10 });
    assert.deepEqual(messages.map(({ id, attempts, reason }) => ({ id, attempts, reason })).toSorted((a, b) => (a.id < b.id ? -1 : 1)), [
      { id: 'm1', attempts: 2, reason: 'zum zweiten Mal' },
      { id: 'm2', attempts: 1, reason: 'weil m2 für ünmöglich gilt' },
    ]);
  });

  test('are given messages of one key one at a time, and never more than the concurrency', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker, { concurrency: 3 });
    const bus = await open({ ordered: true });
    const worker = (await program()).works(WORKER_QUEUE, 100);
    await bus.publish(['a1', 'a2', 'b1', 'c1', 'd1'].map((id) => messageTo(WORKER_QUEUE, { id, key: id[0]! })));
    await worker.nth(3);
    assert.deepEqual(idsGiven(worker), ['a1', 'b1', 'c1']);
    const done = [...worker.given];
    await worker.answer(done[2]!, 'done');
    assert.equal((await worker.nth(4)).headers.id, 'd1');
    await worker.answer(done[0]!, 'done');
    assert.equal((await worker.nth(5)).headers.id, 'a2');
  });

  test('that die or are paused lose nothing: the broker gives the message to the next one', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const bus = await open();
    const first = (await program()).works(WORKER_QUEUE);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm1' })]);
    await first.nth(1);
    first.connection.close();
    const second = (await program()).works(WORKER_QUEUE);
    const again = await second.nth(1);
    assert.deepEqual([again.headers.id, again.headers.attempt], ['m1', '1']);
    await bus.pause(WORKER_QUEUE);
    await second.answer(again, 'done');
    await untilQueue(bus, WORKER_QUEUE, isEmpty);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm2' })]);
    await untilQueue(bus, WORKER_QUEUE, ({ ready, inFlight }) => ready.normal === 1 && inFlight === 0);
    await bus.resume(WORKER_QUEUE);
    assert.equal((await second.nth(2)).headers.id, 'm2');
  });

  test('that do not answer in time have used a try; what they say later counts for nothing, and their message goes to nobody else', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker, { answerWithinMs: 1_000 });
    const bus = await open();
    const silent = (await program()).works(WORKER_QUEUE, 1);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm1' })]);
    const old = await silent.nth(1);
    const other = (await program()).works(WORKER_QUEUE);
    const second = await other.nth(1);
    assert.deepEqual([second.headers.id, second.headers.attempt], ['m1', '2']);
    await other.answer(second, 'working');
    // The acknowledgement went with it: only an answer in time ends it now.
    await silent.send('done', 'too late', { hand: old.headers.hand!, outcome: 'dead' });
    silent.connection.close();
    await other.send('done', '', { hand: second.headers.hand!, outcome: 'done' });
    await untilQueue(bus, WORKER_QUEUE, (state) => isEmpty(state) && state.dead === 0);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm2' })]);
    await untilGiven(other, 'm2', 1);
    assert.deepEqual(idsGiven(other), ['m1', 'm2']);
  });

  test('that say they work on it have the time anew', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker, { answerWithinMs: 1_000 });
    const bus = await open();
    const worker = (await program()).works(WORKER_QUEUE);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm1' })]);
    const { headers } = await worker.nth(1);
    const until = Date.now() + 3_500;
    while (Date.now() < until) {
      await worker.send('done', '', { hand: headers.hand!, outcome: 'working' });
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await worker.answer(worker.given[0]!, 'done');
    await untilQueue(bus, WORKER_QUEUE, isEmpty);
    assert.deepEqual(idsGiven(worker), ['m1']);
  });

  test('that are not there leave their queue unattended, not busy, also as other hosts see it', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker, { concurrency: 1 });
    const [bus, other] = [await open(), await open()];
    const worker = (await program()).works(WORKER_QUEUE, 1);
    await bus.publish([messageTo(WORKER_QUEUE), messageTo(WORKER_QUEUE)]);
    await worker.nth(1);
    await untilQueue(bus, WORKER_QUEUE, (state) => viewOf(state).status === 'busy');
    worker.connection.close();
    for (const one of [bus, other]) assert.equal(viewOf(await untilQueue(one, WORKER_QUEUE, ({ isAttended, inFlight }) => isAttended === false && inFlight === 1)).status, 'unattended');
    const next = (await program()).works(WORKER_QUEUE, 1);
    await untilQueue(bus, WORKER_QUEUE, ({ isAttended }) => isAttended !== false);
    for (const n of [1, 2]) await next.answer(await next.nth(n), 'done');
    await untilQueue(bus, WORKER_QUEUE, isEmpty);
  });

  test('that are not there use up no tries, however many messages wait for them', async (t) => {
    const count = 60;
    const { bus: open, program } = workerDeployment(t, broker, { answerWithinMs: 1_000, concurrency: count + 1 });
    const bus = await open({ attempts: 2 });
    const dying = (await program()).works(WORKER_QUEUE, 1);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'deadly' })]);
    await dying.nth(1);
    dying.connection.close();
    await bus.publish(Array.from({ length: count }, (_, n) => messageTo(WORKER_QUEUE, { id: `m${n}` })));
    for (const [id, reason] of [['deadly', /interrupted/], ['m0', /not_taken/]] as const) await within(20_000, untilReason(bus, id, reason), () => `${id} was never taken back`);
    const worker = (await program()).works(WORKER_QUEUE, 100);
    await worker.nth(count + 1);
    await Promise.all(worker.given.map((given) => worker.answer(given, 'done')));
    await untilQueue(bus, WORKER_QUEUE, isEmpty);
    // Of a broker that is kept busy by others, a few may come back too late.
    const again = worker.given.filter(({ headers: { attempt } }) => attempt !== '1').map(({ headers: { id } }) => id);
    assert.ok(again.includes('deadly'), 'whoever had it may have died of it');
    assert.ok(again.length < count / 4, `${again.length} of ${count} have used a try`);
  });

  test('are not given what a keeper before had handed out and nobody had taken', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const sender = await program();
    await sender.send(`work.${WORKER_QUEUE}`, '{}', { hand: `${newId()}.1`, id: 'm1', queue: WORKER_QUEUE });
    const bus = await open();
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm1' })]);
    const worker = (await program()).works(WORKER_QUEUE);
    await worker.answer(await worker.nth(1), 'done');
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm2' })]);
    await worker.answer(await worker.nth(2), 'done');
    assert.deepEqual(idsGiven(worker), ['m1', 'm2']);
    assert.equal(worker.given[0]!.headers.attempt, '1');
    assert.ok(isEmpty(await untilQueue(bus, WORKER_QUEUE, isEmpty)));
  });

  test('are not given what another one has of a keeper before, when that one dies', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const holder = (await program()).works(WORKER_QUEUE, 1);
    await holder.send(`work.${WORKER_QUEUE}`, '{}', { hand: `${newId()}.1`, id: 'old', queue: WORKER_QUEUE });
    await holder.nth(1);
    const workers = await Promise.all(Array.from({ length: 3 }, async () => (await program()).works(WORKER_QUEUE)));
    const bus = await open();
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm1' })]);
    await Promise.race(workers.map((worker) => worker.nth(1)));
    holder.connection.close();
    await bus.publish(Array.from({ length: 6 }, (_, n) => messageTo(WORKER_QUEUE, { id: `m${n + 2}` })));
    const given = () => workers.flatMap(idsGiven);
    for (const end = Date.now() + 20_000; given().length < 7 && Date.now() < end; ) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(given().toSorted(), ['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7']);
  });

  test('see a stop of the keeper only by what comes from the next one: nothing twice, no try used', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker, { concurrency: 2 });
    const first = await open();
    // It keeps the messages next.
    await open();
    const worker = (await program()).works(WORKER_QUEUE, 1);
    await first.publish([messageTo(WORKER_QUEUE, { id: 'm1' }), messageTo(WORKER_QUEUE, { id: 'm2' })]);
    const taken = await worker.nth(1);
    const began = performance.now();
    const stopped = first.stop(20_000);
    // Only when m2 has been taken back can the bus be done.
    await worker.answer(taken, 'done');
    await stopped;
    assert.ok(performance.now() - began < 10_000, 'what nobody had was waited for');
    const next = await worker.nth(2);
    assert.deepEqual([next.headers.id, next.headers.attempt], [taken.headers.id === 'm1' ? 'm2' : 'm1', '1']);
    await worker.answer(next, 'done');
  });

  test('go on after a crash of the broker with what they had', async (t) => {
    // Less than the broker is away: for so long nobody can answer.
    const { bus: open, program } = workerDeployment(t, broker, { answerWithinMs: 2_000 });
    const bus = await open();
    const worker = (await program()).works(WORKER_QUEUE);
    await bus.publish([messageTo(WORKER_QUEUE, { id: 'm1' })]);
    const { headers } = await worker.nth(1);
    await broker.kill();
    await broker.up();
    const again = (await program()).works(WORKER_QUEUE);
    const given = await again.nth(1, 60_000);
    assert.deepEqual([given.headers.id, given.headers.hand], ['m1', headers.hand]);
    await again.answer(given, 'done');
    await within(60_000, untilEmptyAgain(bus), () => 'the answer did not count');
    assert.deepEqual(idsGiven(again), ['m1']);
  });

  test('answer more than the broker has memory for, which keeps nothing of it', async (t) => {
    const small = await ActiveMqServer.start({ heapMb: 64 });
    t.after(() => small.remove());
    const { bus: open, program } = workerDeployment(t, broker, {}, { port: small.port });
    const bus = await open();
    const worker = (await program()).works(WORKER_QUEUE);
    const reason = Buffer.alloc(3 * 1024 * 1024, 'x');
    for (let n = 0; n < 24; n++) await worker.send('done', reason, { hand: `nobody.${n}`, outcome: 'retry' });
    await bus.publish([messageTo(WORKER_QUEUE)]);
    await worker.answer(await worker.nth(1), 'done');
    await untilQueue(bus, WORKER_QUEUE, isEmpty);
    assert.equal(bus.problem, undefined);
  });
});

async function untilGiven(program: WorkerProgram, id: string, attempt: number): Promise<Delivery> {
  for (let n = 1; ; n++) {
    const delivery = await program.nth(n);
    if (delivery.headers.id === id && delivery.headers.attempt === String(attempt)) return delivery;
  }
}

async function untilReason(bus: Bus, id: string, reason: RegExp): Promise<void> {
  for (;;) {
    const { messages } = await bus.browse(WORKER_QUEUE, { dead: false, filter: { ids: [id] }, limit: 1 });
    if (reason.test(messages[0]?.reason ?? '')) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** While the broker comes back, it cannot be asked. */
async function untilEmptyAgain(bus: Bus): Promise<void> {
  for (;;) {
    const states = await bus.inspect().catch(() => []);
    if (states.some((state) => state.name === WORKER_QUEUE && isEmpty(state))) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
