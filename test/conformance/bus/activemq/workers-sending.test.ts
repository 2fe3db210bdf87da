import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ActiveMqServer } from '../../../support/activemq.ts';
import { Arrivals, isEmpty, queueOf, untilQueue } from '../../../support/buses.ts';
import { idsGiven, WORKER_QUEUE, workerDeployment } from '../../../support/worker-program.ts';

let broker: ActiveMqServer;

const HOUR_MS = 3_600_000;

describe('what programs of other languages send to an activemq bus', () => {
  before(async () => void (broker = await ActiveMqServer.start()));
  after(() => broker.remove());

  test('send in jobs and events, each stored once however often it comes under its id', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
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
    const { bus: open, program } = workerDeployment(t, broker, {}, { maxMessageBytes: 1_024 });
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

  test('are told so, too, where what is refused grows on its way', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const bus = await open();
    const sender = (await program()).reads('refused');
    const bytes = Buffer.alloc(4 * 1024 * 1024 - 200, 'x');
    const long = { colons: { key: ':'.repeat(5_000) }, quotes: { lane: '"'.repeat(6_000) }, letters: { lane: 'ü'.repeat(4_000) } };
    for (const [id, headers] of Object.entries(long)) await sender.send(`in.${WORKER_QUEUE}`, '{}', { id, ...headers });
    // As large as the broker takes it.
    await sender.send(`in.${WORKER_QUEUE}`, bytes, { id: 'bytes' });
    await sender.nth(4);
    assert.deepEqual(sender.given.map(({ headers: { id } }) => id), [...Object.keys(long), 'bytes']);
    assert.equal(sender.given[3]!.body.length, 4_000_000);
    assert.equal(bus.problem, undefined);
  });

  test('send in before a queue is there: it is kept, and taken up in its order when somebody declares the queue', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const [first, other] = [await open(), await open()];
    const sender = await program();
    for (let n = 1; n <= 4; n++) await sender.send('in.later', `{"n":${n}}`, { ...(n < 4 ? { id: `j${n}` } : {}), workspace: 'w9', key: 'Zo%C3%AB', lane: 'bulk' });
    await sender.send('in.q', '{}', { id: 'last' });
    await first.declare(queueOf('q'));
    await untilQueue(first, 'q', ({ ready }) => ready.normal === 1);
    // By another process than the one that keeps the messages.
    await other.declare(queueOf('later', { ordered: true }));
    await untilQueue(other, 'later', ({ ready }) => ready.bulk === 4);
    const { messages } = await other.browse('later', { dead: false, limit: 10 });
    assert.deepEqual(messages.map(({ payload }) => JSON.parse(payload).n), [1, 2, 3, 4]);
    assert.deepEqual([messages[0]!.id, messages[0]!.name, messages[0]!.workspace, messages[0]!.key], ['j1', 'later', 'w9', 'Zoë']);
    assert.ok(Math.abs(messages[0]!.time - Date.now()) < 60_000);
  });

  test('are told so where there can be no queue of the name, also where the broker takes it for many', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const bus = await open();
    const sender = (await program()).reads('refused');
    const names = ['>', '*', 'a b'];
    for (const name of names) await sender.send(`in.${name}`, '{}', { id: name === '>' ? 'all' : name });
    await sender.nth(names.length);
    assert.deepEqual(sender.given.map(({ headers: { reason } }) => reason!.split(':')[0]), names.map(() => 'not_found/queue_not_found'));
    assert.equal(bus.problem, undefined);
  });

  test('are not refused while the bus has no room: what they send waits, and keeps its order', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker, {}, { maxBacklog: 2 });
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

  test('are never given what is not JSON: it goes to the error queue with the reason, and the queue goes on', async (t) => {
    const { bus: open, program } = workerDeployment(t, broker);
    const bus = await open();
    const worker = (await program()).works(WORKER_QUEUE);
    await worker.send(`in.${WORKER_QUEUE}`, '{"half":', { id: 'bad' });
    await worker.send(`in.${WORKER_QUEUE}`, '{"whole":true}', { id: 'good' });
    await worker.answer(await worker.nth(1), 'done');
    await untilQueue(bus, WORKER_QUEUE, (state) => isEmpty(state) && state.dead === 1);
    assert.deepEqual(idsGiven(worker), ['good']);
    assert.equal((await bus.browse(WORKER_QUEUE, { dead: true, limit: 1 })).messages[0]!.reason, 'invalid/payload_invalid: The payload is not JSON.');
  });
});
