import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { type TestContext as Test, test } from 'node:test';
import { z } from 'zod';
import { OutboxStore } from '../../src/fabric/outbox.ts';
import { Subscriber } from '../../src/fabric/subscriber.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import { job } from '../../src/kernel/message.ts';
import type { Bus } from '../../src/ports/bus.ts';
import { caller, keeper, onEachTransport, place, proxyTo } from '../support/bus-hosts.ts';
import { Arrivals, isEmpty, messageTo, queueOf, sqliteAt, stateOf, untilQueue, within } from '../support/buses.ts';
import { noMetrics, silentLog } from '../support/context.ts';
import { seeded } from '../support/seed.ts';

onEachTransport('the embedded bus over connections that are cut', (transport) => {
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
});

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
