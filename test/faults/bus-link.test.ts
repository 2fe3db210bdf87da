import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { describe, type TestContext as Test, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { z } from 'zod';
import { streamTransports } from '../../adapters/transport/catalog.ts';
import { OutboxStore } from '../../src/fabric/outbox.ts';
import { Subscriber } from '../../src/fabric/subscriber.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import { job } from '../../src/kernel/message.ts';
import type { Bus, Handler, Outcome } from '../../src/ports/bus.ts';
import { Arrivals, createBus, isEmpty, messageTo, queueOf, sqliteAt, stateOf, untilQueue, within } from '../support/buses.ts';
import type { LinkChildPlan } from '../support/bus-link-child.ts';
import { noMetrics, silentLog, type TestContext, testContext } from '../support/context.ts';
import { rejectsWith } from '../support/faults.ts';
import { remoteBusAt, ServedBus, type TransportName } from '../support/linked-bus.ts';
import { seeded } from '../support/seed.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const CHILD = fileURLToPath(new URL('../support/bus-link-child.js', import.meta.url));
const ANY_PORT = { host: '127.0.0.1', port: 0 };

function place(t: Test): TestContext {
  const context = testContext();
  t.after(() => context.remove());
  return context;
}

/** A process of its own in all but the process: the bus with its service, and where it is reached. */
async function keeper(t: Test, at: TestContext, transport: TransportName, address: { host: string; port: number } = ANY_PORT): Promise<ServedBus & { readonly port: number }> {
  const served = new ServedBus(createBus('embedded', at), at, address, transport);
  const awake = setInterval(() => {}, 60_000);
  t.after(async () => {
    clearInterval(awake);
    await served.stop(1_000);
  });
  await served.start();
  return Object.assign(served, { port: (served.at as { port: number }).port });
}

async function caller(t: Test, port: number, transport: TransportName): Promise<Bus> {
  const bus = remoteBusAt({ host: '127.0.0.1', port }, place(t), transport);
  t.after(() => bus.stop(500));
  await bus.start();
  return bus;
}

async function proxyTo(t: Test, port: number): Promise<TcpProxy> {
  const proxy = await TcpProxy.start(port);
  t.after(() => proxy.stop());
  return proxy;
}

interface Told {
  readonly kind: 'begin' | 'end';
  readonly id: string;
  readonly attempt: number;
}

/** A consuming process and what it has told. */
class Consuming {
  readonly told: Told[] = [];
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  #waiting: (() => void)[] = [];

  constructor(t: Test, plan: LinkChildPlan) {
    this.child = fork(CHILD, [JSON.stringify(plan)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.ended = once(this.child, 'exit');
    this.child.on('message', (told: Told) => {
      this.told.push(told);
      for (const wake of this.#waiting.splice(0)) wake();
    });
    t.after(async () => {
      this.child.kill('SIGKILL');
      await this.ended;
    });
  }

  ids(kind: Told['kind']): string[] {
    return this.told.filter((told) => told.kind === kind).map(({ id }) => id);
  }

  async until(holds: () => boolean, withinMs: number): Promise<void> {
    await within(withinMs, (async () => { while (!holds()) await new Promise<void>((resolve) => this.#waiting.push(resolve)); })(), () => `told: ${JSON.stringify(this.told.slice(-5))}`);
  }
}

for (const transport of Object.keys(streamTransports) as TransportName[]) {
  describe(`the embedded bus over ${transport}`, () => {
    test('connections cut with messages under way in both directions: nothing is lost, each effect is there once, in order', async (t) => {
      const random = seeded((line) => t.diagnostic(line));
      const served = await keeper(t, place(t), transport);
      const [toPublish, toConsume] = [await proxyTo(t, served.port), await proxyTo(t, served.port)];
      const [publisher, consumer] = [await caller(t, toPublish.port, transport), await caller(t, toConsume.port, transport)];
      const work = job('suite.work', z.object({ key: z.string(), n: z.number() }), { orderBy: ({ key }) => key });
      const effects = await effectsOf(t, consumer, work);
      await effects.subscriber.declare();
      await effects.subscriber.start();
      const COUNT = 3_000;
      let publishing = true;
      const cutting = (async () => {
        while (publishing || !isEmpty(await stateOf(served.bus, 'suite.work'))) {
          await sleep(30 + random.whole(150));
          if (random.whole(2) === 0) toPublish.cut();
          if (random.whole(2) === 0) random.whole(3) === 0 ? toConsume.cutAfter(random.whole(3_000)) : toConsume.cut();
        }
      })();
      const last = Array.from({ length: 10 }, () => 0);
      for (let sent = 0; sent < COUNT; ) {
        const batch = Array.from({ length: Math.min(1 + random.whole(40), COUNT - sent) }, () => {
          const k = random.whole(10);
          return messageTo('suite.work', { key: `k${k}`, payload: JSON.stringify({ key: `k${k}`, n: ++last[k]! }) });
        });
        // As an outbox does: the same again until the bus has it.
        for (;;) {
          try {
            await publisher.publish(batch);
            break;
          } catch {
            await sleep(10);
          }
        }
        sent += batch.length;
      }
      publishing = false;
      await within(60_000, cutting, () => 'the queue was not worked off');
      const expected = last.flatMap((count, k) => Array.from({ length: count }, (_, n) => `k${k} ${n + 1}`));
      assert.deepEqual((await effects.inOrder()).toSorted(), expected.toSorted());
      for (let k = 0; k < 10; k++) assert.deepEqual((await effects.inOrder()).filter((entry) => entry.startsWith(`k${k} `)), expected.filter((entry) => entry.startsWith(`k${k} `)));
      assert.equal((await stateOf(served.bus, 'suite.work')).dead, 0);
      await effects.subscriber.stop(1_000);
    });

    test('a consumer that is killed: its messages go to another one within seconds', async (t) => {
      const served = await keeper(t, place(t), transport);
      await served.bus.declare(queueOf('q'));
      const plan: LinkChildPlan = { at: served.at, transport, concurrency: 5, handleMs: 60_000 };
      const first = new Consuming(t, plan);
      await served.bus.publish(Array.from({ length: 5 }, (_, i) => messageTo('q', { id: `m${i}` })));
      await first.until(() => first.told.length === 5, 10_000);
      first.child.kill('SIGKILL');
      await first.ended;
      const second = await caller(t, served.port, transport);
      const arrivals = new Arrivals();
      await second.consume('q', { concurrency: 5 }, arrivals.handler);
      await arrivals.count(5, 10_000);
      assert.deepEqual(arrivals.ids.toSorted(), ['m0', 'm1', 'm2', 'm3', 'm4']);
      assert.deepEqual(arrivals.messages.map(({ attempt }) => attempt), [2, 2, 2, 2, 2]);
      await untilQueue(served.bus, 'q', isEmpty);
    });

    test('a message that kills its consumer ends in the error queue, and takes no neighbour along', async (t) => {
      const at = place(t);
      const served = new ServedBus(createBus('embedded', at), at, ANY_PORT, transport, 300);
      t.after(() => served.stop(1_000));
      await served.start();
      await served.bus.declare(queueOf('q', { attempts: 3 }));
      const good = Array.from({ length: 12 }, (_, i) => messageTo('q', { id: `good${i}` }));
      await served.bus.publish([...good.slice(0, 3), messageTo('q', { id: 'poison', name: 'suite.poison' }), ...good.slice(3)]);
      const tries: number[] = [];
      const done: string[] = [];
      for (let run = 0; run < 3; run++) {
        const child = new Consuming(t, { at: served.at, transport, concurrency: 4, handleMs: 5 });
        await within(20_000, child.ended, () => 'the poison did not come');
        tries.push(...child.told.filter(({ id, kind }) => id === 'poison' && kind === 'begin').map(({ attempt }) => attempt));
        done.push(...child.ids('end'));
      }
      await untilQueue(served.bus, 'q', ({ dead }) => dead === 1);
      const last = new Consuming(t, { at: served.at, transport, concurrency: 4, handleMs: 5 });
      await untilQueue(served.bus, 'q', isEmpty);
      const { messages } = await served.bus.browse('q', { dead: true, limit: 10 });
      assert.deepEqual([messages.map(({ id }) => id), tries], [['poison'], [1, 2, 3]]);
      assert.match(messages[0]!.reason!, /^interrupted/);
      assert.deepEqual([...new Set([...done, ...last.ids('end')])].toSorted(), good.map(({ id }) => id).toSorted());
    });

    test('the host of the bus restarts: consumers and publishers go on by themselves', async (t) => {
      const at = place(t);
      const first = await keeper(t, at, transport);
      const bus = await caller(t, first.port, transport);
      await bus.declare(queueOf('q', { ordered: true }));
      const gate = Promise.withResolvers<Outcome>();
      const arrivals = new Arrivals(({ id }) => (id === 'slow' ? gate.promise : { kind: 'done' }));
      await bus.consume('q', { concurrency: 3 }, arrivals.handler);
      await bus.publish([messageTo('q', { id: 'slow', key: 'k' }), messageTo('q', { id: 'behind', key: 'k' }), messageTo('q', { id: 'quick' })]);
      await arrivals.count(2);
      await first.stop(300);
      const waiting = bus.declare(queueOf('later'));
      const second = await keeper(t, at, transport, { host: '127.0.0.1', port: first.port });
      await waiting;
      await bus.publish([messageTo('q', { id: 'after' })]);
      await arrivals.count(3);
      // The handler of before speaks for its message, which nobody handles a second time.
      await untilQueue(second.bus, 'q', ({ inFlight }) => inFlight === 1);
      gate.resolve({ kind: 'done' });
      await untilQueue(second.bus, 'q', isEmpty);
      assert.deepEqual(arrivals.ids, ['slow', 'quick', 'after', 'behind']);
    });

    test('a message whose handler has outlived its session is spoken for by it, whichever consumer it comes to', async (t) => {
      const at = place(t);
      const first = await keeper(t, at, transport);
      const bus = await caller(t, first.port, transport);
      await bus.declare(queueOf('q'));
      const gate = Promise.withResolvers<Outcome>();
      const arrivals = new Arrivals(({ id }) => (id === 'after' ? { kind: 'done' } : gate.promise));
      // The first consumer holds the second message, and the other way round; after the restart it will not be so.
      await bus.pause('q', 'w1');
      await bus.publish([messageTo('q', { id: 'a', workspace: 'w1' }), messageTo('q', { id: 'b', workspace: 'w2' })]);
      await bus.consume('q', { concurrency: 1 }, arrivals.handler);
      await arrivals.count(1);
      await bus.consume('q', { concurrency: 1 }, arrivals.handler);
      await bus.resume('q', 'w1');
      await arrivals.count(2);
      await first.stop(100);
      const second = await keeper(t, at, transport, { host: '127.0.0.1', port: first.port });
      await untilQueue(second.bus, 'q', ({ inFlight }) => inFlight === 2);
      await bus.publish([messageTo('q', { id: 'after' })]);
      gate.resolve({ kind: 'done' });
      await untilQueue(second.bus, 'q', isEmpty);
      assert.deepEqual(arrivals.ids, ['b', 'a', 'after']);
    });

    test('a host of the bus that has lost everything is told of the queues again', async (t) => {
      const first = await keeper(t, place(t), transport);
      const bus = await caller(t, first.port, transport);
      await bus.declare(queueOf('q'));
      const arrivals = new Arrivals();
      await bus.consume('q', { concurrency: 3 }, arrivals.handler);
      await first.stop(100);
      const second = await keeper(t, place(t), transport, { host: '127.0.0.1', port: first.port });
      await within(10_000, (async () => { while (!(await second.bus.inspect()).some(({ consumers }) => consumers === 1)) await sleep(5); })(), () => 'the consumer did not come back');
      await second.bus.publish([messageTo('q', { id: 'new' })]);
      await arrivals.count(1);
    });

    test('a consumer that is frozen for ten seconds: others go on, and so does it afterwards', async (t) => {
      const served = await keeper(t, place(t), transport);
      await served.bus.declare(queueOf('q'));
      const frozen = new Consuming(t, { at: served.at, transport, concurrency: 3, handleMs: 500 });
      await served.bus.publish(Array.from({ length: 3 }, (_, i) => messageTo('q', { id: `held${i}` })));
      await frozen.until(() => frozen.told.length === 3, 10_000);
      frozen.child.kill('SIGSTOP');
      const began = performance.now();
      const other = await caller(t, served.port, transport);
      const arrivals = new Arrivals();
      const consumer = await other.consume('q', { concurrency: 3 }, arrivals.handler);
      await served.bus.publish(Array.from({ length: 20 }, (_, i) => messageTo('q', { id: `new${i}` })));
      await within(10_000, (async () => { while (arrivals.ids.filter((id) => id.startsWith('new')).length < 20) await sleep(10); })(), () => `${arrivals.ids.length} came to the other one`);
      await sleep(Math.max(0, 10_000 - (performance.now() - began)));
      frozen.child.kill('SIGCONT');
      await untilQueue(served.bus, 'q', isEmpty, 30_000);
      await consumer.stop(1_000);
      await served.bus.publish([messageTo('q', { id: 'again' })]);
      await frozen.until(() => frozen.ids('end').includes('again'), 30_000);
    });

    test('an answer that is lost on its way is given again, and costs no try', async (t) => {
      const served = await keeper(t, place(t), transport);
      const proxy = await proxyTo(t, served.port);
      const bus = await caller(t, proxy.port, transport);
      await bus.declare(queueOf('q'));
      const arrivals = new Arrivals();
      await bus.consume('q', { concurrency: 50 }, arrivals.handler);
      await served.bus.publish([messageTo('q', { id: 'first' })]);
      await arrivals.count(1);
      proxy.cutAfter(200);
      const ids = Array.from({ length: 40 }, (_, i) => `m${i}`);
      await served.bus.publish(ids.map((id) => messageTo('q', { id })));
      await arrivals.count(41);
      await untilQueue(served.bus, 'q', isEmpty);
      assert.deepEqual(arrivals.ids.slice(1).toSorted(), ids.toSorted());
      assert.ok(arrivals.messages.every(({ attempt }) => attempt === 1));
    });

    test('a slow consumer holds what it can handle at once, however much there is', async (t) => {
      const served = await keeper(t, place(t), transport);
      const bus = await caller(t, served.port, transport);
      await bus.declare(queueOf('q'));
      const gate = Promise.withResolvers<void>();
      const slow: Handler = async () => {
        await gate.promise;
        return { kind: 'done' };
      };
      const arrivals = new Arrivals(slow as never);
      await bus.consume('q', { concurrency: 8 }, arrivals.handler);
      const payload = JSON.stringify('x'.repeat(50_000));
      const before = await heldMb();
      for (let sent = 0; sent < 1_000; sent += 100) await bus.publish(Array.from({ length: 100 }, () => messageTo('q', { payload })));
      await arrivals.count(8);
      const { inFlight, ready } = await stateOf(bus, 'q');
      assert.deepEqual([arrivals.ids.length, inFlight, ready.normal], [8, 8, 992]);
      const more = (await heldMb()) - before;
      assert.ok(more < 10, `${more} MB more, of 50 MB that were published`);
      gate.resolve();
      await arrivals.count(1_000, 60_000);
      await untilQueue(served.bus, 'q', isEmpty);
    });

    test('hints come to every process; one that was cut off is told of a gap', async (t) => {
      const served = await keeper(t, place(t), transport);
      const proxy = await proxyTo(t, served.port);
      const [publisher, watcher] = [await caller(t, served.port, transport), await caller(t, proxy.port, transport)];
      const told: string[] = [];
      let wake = (): void => {};
      const note = (line: string): void => {
        told.push(line);
        wake();
      };
      const until = (holds: () => boolean) => within(10_000, (async () => { while (!holds()) await new Promise<void>((resolve) => (wake = resolve)); })(), () => told.join());
      const stop = watcher.watch(['thing.happened'], { message: (topic, workspace, payload) => note(`${topic} ${workspace} ${payload}`), gap: () => note('gap') });
      await until(() => told.length === 1);
      const publish = (n: number) => publisher.publish([messageTo('', { to: { topic: 'thing.happened' }, payload: `${n}` }), messageTo('', { to: { topic: 'thing.else' } })]);
      await publish(1);
      await publish(2);
      await until(() => told.length === 3);
      assert.deepEqual(told, ['gap', 'thing.happened w1 1', 'thing.happened w1 2']);
      // A cut between two questions goes unnoticed, and rightly so.
      for (; told.length === 3; await sleep(20)) proxy.cut();
      await publish(3);
      await until(() => told.at(-1) !== 'gap');
      assert.deepEqual([told[3], told.at(-1), told.slice(3).filter((line) => line !== 'gap').length], ['gap', 'thing.happened w1 3', 1]);
      stop();
      const before = told.length;
      await publish(4);
      await sleep(50);
      assert.equal(told.length, before);
    });

    test('declare and consume wait for the host of the bus; a publish is refused, and a stop ends the waiting', async (t) => {
      const at = place(t);
      const probe = await keeper(t, at, transport);
      await probe.stop(100);
      const bus = await caller(t, probe.port, transport);
      const declared = bus.declare(queueOf('q'));
      await rejectsWith('unavailable', bus.publish([messageTo('q')]));
      const second = await keeper(t, at, transport, { host: '127.0.0.1', port: probe.port });
      await within(10_000, declared, () => 'it was never declared');
      await bus.consume('q', { concurrency: 1 }, async () => ({ kind: 'done' }));
      await second.stop(100);
      const waiting = rejectsWith('unavailable', bus.declare(queueOf('other')), 'stopped');
      const began = performance.now();
      await bus.stop(1_000);
      await waiting;
      assert.ok(performance.now() - began < 2_500, `the stop took ${performance.now() - began} ms`);
    });
  });
}

/** What is held once the garbage of publishing is gone; what buffers held is freed a turn after they are. */
async function heldMb(): Promise<number> {
  setFlagsFromString('--expose-gc');
  for (let round = 0; round < 3; round++) {
    (runInNewContext('gc') as () => void)();
    await setImmediate();
  }
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 1024 / 1024;
}

interface Effects {
  effect: { seq: number; turn: string; n: number };
}

/** A real subscriber with its inbox, whose effect is one row per message. */
async function effectsOf(t: Test, bus: Bus, work: ReturnType<typeof job<{ key: string; n: number }>>) {
  const at = place(t);
  const storage = sqliteAt(at)('effects');
  await storage.start();
  await storage.migrate([...fabricMigrations, { name: '0001-effects', up: (db) => db.schema.createTable('effect').addColumn('seq', 'integer', (c) => c.primaryKey()).addColumn('turn', 'text').addColumn('n', 'integer').execute() }]);
  t.after(() => storage.stop(1_000));
  const store = new OutboxStore<Effects>(storage as never, { module: 'suite', publishes: new Set(), strict: true, clock: at.clock, alongside: () => undefined } as never, () => {});
  const handler = {
    async handle({ payload }: { payload: { key: string; n: number } }, tx: any) {
      await tx.db.insertInto('effect').values({ turn: payload.key, n: payload.n }).execute();
    },
  };
  const subscriber = new Subscriber({ module: 'suite', bus, store: store as never, clock: at.clock, log: silentLog, metrics: noMetrics, strict: true }, { message: work, concurrency: 8, transactional: class {} as never }, handler as never);
  const inOrder = async (): Promise<string[]> => ((await storage.db.selectFrom('effect' as never).selectAll().orderBy('seq' as never).execute()) as Effects['effect'][]).map(({ turn, n }) => `${turn} ${n}`);
  return { subscriber, inOrder };
}
