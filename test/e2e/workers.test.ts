import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext as Test } from 'node:test';
import { Ajv } from 'ajv';
import { Connection, type Delivery } from '../../adapters/bus/activemq/connection.ts';
import { WORK_HEADERS } from '../../adapters/bus/activemq/worker-wire.ts';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { busSharing } from '../../src/app/host/bus-sharing.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { newId } from '../../src/kernel/ids.ts';
import type { Bus, Handler } from '../../src/ports/bus.ts';
import { ActiveMqServer } from '../support/activemq.ts';
import { Arrivals, messageTo, queueOf, sqliteAt, untilQueue, within } from '../support/buses.ts';
import { runCli } from '../support/cli.ts';
import { testContext } from '../support/context.ts';
import { Multilith } from '../support/multilith.ts';
import { PythonWorker } from '../support/python-worker.ts';
import { TestWorkspace } from '../support/workspace.ts';

const QUEUE = 'worker.scores';
const JOBS = 300;
const EVERY_FAILING = 30;

let broker: ActiveMqServer;

describe('a worker in Python', () => {
  before(async () => void (broker = await ActiveMqServer.start()));
  after(() => broker.remove());

  test('beside one in TypeScript, killed again and again: each job has its effect once, and failing ones end in the error queue', async (t) => {
    const { prefix, bus, python, program: open } = deployment(t);
    const keeper = await bus();
    const guest = await bus();
    for (const one of [keeper, guest]) {
      await one.declare(queueOf(QUEUE, { attempts: 3 }));
      await one.declare(queueOf('audit', { topics: ['worker.scored'] }));
    }
    const scored = new Arrivals();
    await keeper.consume('audit', { concurrency: 10 }, scored.handler);
    const program = await open();
    const job = (n: number) => ({ id: `job-${n}`, payload: JSON.stringify({ properties: { total: n % EVERY_FAILING === 0 ? -n : n * 10 } }) });
    await guest.publish(Array.from({ length: JOBS / 2 }, (_, n) => messageTo(QUEUE, { ...job(n + 1), key: 'Zoë' })));
    const sent = Array.from({ length: JOBS / 2 }, (_, n) => job(JOBS / 2 + n + 1));
    await program.deliver([
      ...sent.map(({ id, payload }) => ({ destination: `/queue/${prefix}.in.${QUEUE}`, headers: { id, workspace: 'w1' }, body: Buffer.from(payload) })),
      { destination: `/queue/${prefix}.in.${QUEUE}`, headers: { id: 'no-json' }, body: Buffer.from('{"properties":') },
      { destination: `/queue/${prefix}.in.${QUEUE}`, headers: { id: 'no-properties' }, body: Buffer.from('{}') },
    ]);

    let worker = python();
    const besides = new Arrivals(inTypeScript(guest));
    await guest.consume(QUEUE, { concurrency: 1 }, besides.handler);
    const failing = JOBS / EVERY_FAILING;
    for (const share of [0.2, 0.5, 0.8]) {
      await scored.count((JOBS - failing) * share, 60_000);
      await worker.kill();
      worker = python();
    }
    await scored.count(JOBS - failing, 60_000);
    await untilQueue(keeper, QUEUE, ({ dead, inFlight, waiting, ready }) => dead === failing + 2 && inFlight + waiting + ready.normal === 0);

    const ids = scored.messages.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length, 'an effect came twice');
    assert.deepEqual(ids.toSorted(), Array.from({ length: JOBS }, (_, n) => n + 1).filter((n) => n % EVERY_FAILING !== 0).map((n) => `job-${n}.scored`).toSorted());
    const own = besides.messages.filter(({ attempt }) => attempt === 1).length;
    assert.ok(own > 0 && own < JOBS - failing, `TypeScript was given ${own} of ${JOBS}: both were to have some`);
    assert.equal(JSON.parse(scored.messages.find(({ id }) => id === 'job-7.scored')!.payload).score, 7);
    assert.equal(scored.messages.find(({ id }) => id === 'job-7.scored')!.key, 'Zoë');

    const { messages: dead } = await keeper.browse(QUEUE, { dead: true, limit: 100 });
    const reasons = Object.fromEntries(dead.map(({ id, attempts, reason }) => [id, `${attempts}: ${reason}`]));
    for (let n = EVERY_FAILING; n <= JOBS; n += EVERY_FAILING) assert.equal(reasons[`job-${n}`], `3: a total of -${n}`);
    assert.equal(reasons['no-json'], '1: invalid/payload_invalid: The payload is not JSON.');
    assert.match(reasons['no-properties']!, /^1: .*properties/);
    assert.equal(worker.said, '');
  });

  test('that a topology names is given an event of the portal, and what it publishes reaches the next one', async (t) => {
    const { prefix, host, python, program } = deployment(t);
    const server = await host({ scores: { events: ['portal.event-recorded'], attempts: 2, backoff: { firstMs: 1 } }, audit: { events: ['worker.scored'] } });
    python();
    const workspace = await TestWorkspace.create(server);
    for (const total of [420, -1]) await workspace.ask('POST', '/v1/track', { writeKey: workspace.key, userId: 'zoe', event: 'Order Placed', properties: { total } });

    const audit = await program();
    const { headers, body } = await new Promise<Delivery>((resolve) => audit.subscribe(`/queue/${prefix}.work.worker.audit`, { prefetch: 1 }, resolve));
    assert.equal(headers.name, 'worker.scored');
    assert.ok(headers.workspace);
    assert.ok(new Ajv({ strict: false }).validate(WORK_HEADERS, headers), 'as the AsyncAPI document describes them');
    assert.deepEqual(JSON.parse(body.toString()), { score: 42 });

    await audit.deliver([{ destination: `/queue/${prefix}.in.notification.send-requested`, headers: { id: 'no-request' }, body: Buffer.from('{"to":"nobody"}') }]);
    const [refused] = await deadOf(server, 'notification.send-requested');
    assert.deepEqual([refused.id, refused.attempts, refused.reason.split(':')[0]], ['no-request', 1, 'invalid/payload_invalid']);
    const dead = await deadOf(server, QUEUE);
    assert.deepEqual(dead.map(({ attempts, reason, payload }) => ({ attempts, reason, person: JSON.parse(payload).person })), [{ attempts: 2, reason: 'a total of -1', person: '[redacted]' }]);
  });

  test('loses nothing when the host that keeps the messages is killed and started again', async (t) => {
    const { prefix, host, python, program } = deployment(t);
    const workers = { scores: { backoff: { firstMs: 1 } }, audit: { events: ['worker.scored'], concurrency: 50 } };
    const first = await host(workers);
    python();
    const sender = await program();
    const audited = new Map<number, Set<string>>();
    let reached = { count: Infinity, resolve: () => {} };
    sender.subscribe(`/queue/${prefix}.work.worker.audit`, { prefetch: 50 }, (delivery) => {
      const { score } = JSON.parse(delivery.body.toString());
      audited.set(score, (audited.get(score) ?? new Set()).add(delivery.headers.id!));
      // The last ones are under way when the test ends.
      sender.deliver([{ destination: `/queue/${prefix}.done`, headers: { hand: delivery.headers.hand!, outcome: 'done' }, body: Buffer.alloc(0) }], [delivery]).catch(() => {});
      if (audited.size >= reached.count) reached.resolve();
    });
    const until = (count: number) => within(60_000, new Promise<void>((resolve) => (reached = { count, resolve }, audited.size >= count && resolve())), () => `${audited.size} of ${count} jobs had an effect`);
    // Without ids of their own: what the broker gives out twice must still be one job.
    const send = (from: number, to: number) => Promise.all(Array.from({ length: to - from }, (_, n) => sender.deliver([{ destination: `/queue/${prefix}.in.${QUEUE}`, body: Buffer.from(`{"properties":{"total":${(from + n) * 10}}}`) }])));
    const sending = send(0, 200);
    await until(50);
    await first.kill();
    await sending;
    await send(200, 250);
    await host(workers, first.dataDir);
    await until(250);
    for (const [score, ids] of audited) assert.equal(ids.size, 1, `score ${score} was stored under ${[...ids].join(', ')}`);
  });
});

/** The messages in the error queue, as soon as there are any. */
async function deadOf({ dataDir }: Multilith, queue: string): Promise<any[]> {
  for (const end = Date.now() + 30_000; ; ) {
    const { messages } = JSON.parse((await runCli(['queues', 'browse', queue, '--dead', '--json'], { env: { MULTILITH_DATA: dataDir } })).out);
    if (messages.length > 0 || Date.now() > end) return messages;
  }
}

/** Hosts that share a bus, and the example beside them. */
function deployment(t: Test) {
  const { activemq } = busDrivers;
  const prefix = `python-${newId()}`;
  const settings = activemq.settings.parse({ port: broker.port, prefix, workers: { scores: { concurrency: 4 } } });
  return {
    prefix,
    async bus(): Promise<Bus> {
      const place = testContext();
      const bus = activemq.create(settings, { ...place, openStorage: sqliteAt(place), sharing: busSharing(place) });
      t.after(async () => {
        await bus.stop(1_000);
        place.remove();
      });
      await bus.start();
      return bus;
    },
    /** The product itself. */
    async host(workers: object, dataDir?: string): Promise<Multilith> {
      const folder = mkdtempSync(join(tmpdir(), 'multilith-workers-'));
      const topology = join(folder, 'topology.yaml');
      writeFileSync(topology, JSON.stringify({ extends: 'default', bus: { driver: 'activemq', port: broker.port, prefix, workers } }));
      const host = Multilith.launch({ args: ['--topology', topology], ...(dataDir === undefined ? {} : { dataDir }) });
      t.after(async () => {
        await host.dispose();
        rmSync(folder, { recursive: true });
      });
      await host.untilReady();
      return host;
    },
    async program(): Promise<Connection> {
      const connection = await Connection.open(settings, systemClock);
      t.after(() => connection.close());
      return connection;
    },
    python(): PythonWorker {
      const worker = new PythonWorker({ PREFIX: prefix, PORT: String(broker.port) });
      t.after(() => worker.kill());
      return worker;
    },
  };
}

/** The same work as the example's. */
function inTypeScript(bus: Bus): Handler {
  return async ({ id, key, payload }) => {
    let total: number;
    try {
      total = JSON.parse(payload).properties.total;
    } catch (error) {
      return { kind: 'dead', reason: error instanceof SyntaxError ? 'invalid/payload_invalid: The payload is not JSON.' : String(error) };
    }
    if (total < 0) return { kind: 'retry', reason: `a total of ${total}` };
    await bus.publish([messageTo('', { id: `${id}.scored`, to: { topic: 'worker.scored' }, key, payload: JSON.stringify({ score: total / 10 }) })]);
    return { kind: 'done' };
  };
}
