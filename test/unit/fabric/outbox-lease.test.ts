import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext as Test } from 'node:test';
import { z } from 'zod';
import { storageDrivers } from '../../../adapters/storage/catalog.ts';
import { OutboxBacklog } from '../../../src/fabric/outbox-backlog.ts';
import { BEAT_MS, SILENT_MS } from '../../../src/fabric/outbox-lease.ts';
import { OutboxRelay } from '../../../src/fabric/outbox-relay.ts';
import { OutboxStore } from '../../../src/fabric/outbox.ts';
import { fabricMigrations, type FabricTables } from '../../../src/fabric/tables.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { job } from '../../../src/kernel/message.ts';
import type { Bus, Outgoing } from '../../../src/ports/bus.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { Arrivals, createBus, queueOf } from '../../support/buses.ts';
import { noMetrics, silentLog, testContext } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { PostgresServer } from '../../support/postgres.ts';

/** How often the relay looks at what others carry. */
const LOOK_MS = 2_000;
const mail = job('reader.mail', z.object({ text: z.string() }), { orderBy: () => 'k' });

/** What one process of the module is to its outbox. */
interface Writer {
  /** Of its own: the time of a process that stands still does, too. */
  readonly clock: FakeClock;
  readonly relay: OutboxRelay;
  readonly storage: Storage<FabricTables>;
  /** Messages that it has handed to the bus. */
  readonly handed: Outgoing[];
  /** Resolves when it has something in hand. */
  readonly carries: Promise<void>;
  /** Until this resolves it hands over nothing. */
  standsStill: Promise<void> | undefined;
  publish(text: string): Promise<void>;
}

describe('of processes that share an outbox', () => {
  const server = new PostgresServer();
  before(() => server.start());
  after(() => server.remove());

  async function started(t: Test, count: number) {
    const place = testContext();
    const bus = createBus('embedded', place, { maxMessageBytes: 1_024 });
    const arrivals = new Arrivals();
    await bus.start();
    await bus.declare(queueOf(mail.name, { ordered: true }));
    await bus.consume(mail.name, { concurrency: 10 }, arrivals.handler);
    const writers: Writer[] = [];
    t.after(async () => {
      for (const { relay, storage } of writers) for (const part of [relay, storage]) await part.stop(5_000);
      await bus.stop(5_000);
      place.remove();
    });
    const lease = () => writers[0]!.storage.db.selectFrom('fabric_leases').select(['held', 'token', 'beat']).executeTakeFirst();
    for (let i = 1; i <= count; i++) {
      writers.push(await writer(place.dataDir, bus));
      // Each takes the lease when it starts, for what an earlier run left behind, and gives it back.
      for (let now = await lease(); now?.held !== 0 || now.token !== i; now = await lease()) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const waiting = async () => (await writers[0]!.storage.db.selectFrom('fabric_outbox').select('id').execute()).length;
    return { arrivals, writers, lease, texts: () => arrivals.messages.map(({ payload }) => (JSON.parse(payload) as { text: string }).text), waiting };
  }

  async function writer(name: string, bus: Bus): Promise<Writer> {
    const clock = new FakeClock(Date.now());
    const { postgres } = storageDrivers;
    const storage: Storage<FabricTables> = postgres.create(postgres.settings.parse(server.settings(name)), { ...testContext(), name: 'writer' });
    const carries = Promise.withResolvers<void>();
    const watched: Bus = Object.create(bus, {
      publish: {
        value: async (messages: readonly Outgoing[]) => {
          carries.resolve();
          await self.standsStill;
          self.handed.push(...messages);
          await bus.publish(messages);
        },
      },
    }) as Bus;
    const relay = new OutboxRelay({ module: 'writer', storage, bus: watched, backlog: new OutboxBacklog('writer', Infinity), clock, log: silentLog, metrics: noMetrics });
    const store = new OutboxStore(storage, { module: 'writer', publishes: new Set([mail.name]), strict: true, clock }, relay.wake);
    const self: Writer = { clock, relay, storage, handed: [], carries: carries.promise, standsStill: undefined, publish: (text) => store.transaction((tx) => tx.publish(mail, { text }, { workspace: 'w1' })) };
    await storage.start();
    await storage.migrate(fabricMigrations);
    await relay.start();
    return self;
  }

  it('one carries at a time: each message goes to the bus once, in the order of commit', { timeout: 30_000 }, async (t) => {
    const { arrivals, writers, texts } = await started(t, 3);
    const expected = Array.from({ length: 200 }, (_, i) => String(i));
    for (const text of expected) await writers[Number(text) % 3]!.publish(text);
    await arrivals.count(200);
    assert.deepEqual(texts(), expected);
    const handed = writers.flatMap((one) => one.handed.map(({ id }) => id));
    assert.equal(handed.length, 200);
    assert.equal(new Set(handed).size, 200);
  });

  it('another goes on for one that stands still, which cannot complete what it had in hand', { timeout: 30_000 }, async (t) => {
    const { arrivals, writers, lease, texts, waiting } = await started(t, 2);
    const [one, other] = writers as [Writer, Writer];
    const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    one.standsStill = first.promise;
    other.standsStill = second.promise;
    await one.publish('a');
    await one.carries;
    const before = (await lease())!.token;
    await other.publish('b');
    // The database answers in its own time, whatever the clock says.
    for (; (await lease())!.token === before; await new Promise((resolve) => setTimeout(resolve, 5))) await other.clock.advance(SILENT_MS / 6);
    first.resolve();
    await arrivals.count(1);
    await one.relay.stop(5_000);
    assert.equal(one.handed.length, 1);
    assert.equal(await waiting(), 2, 'only who has the lease takes out what was carried');
    second.resolve();
    // The first a second time, and the other.
    await arrivals.count(3);
    await other.relay.stop(5_000);
    assert.equal(await waiting(), 0);
    assert.deepEqual([...new Set(texts())], ['a', 'b']);
  });

  it('nobody else carries what one has in hand, however long the bus takes for it', { timeout: 30_000 }, async (t) => {
    const { arrivals, writers, lease } = await started(t, 2);
    const [one, other] = writers as [Writer, Writer];
    const { promise, resolve } = Promise.withResolvers<void>();
    one.standsStill = promise;
    await one.publish('a');
    await one.carries;
    const { token } = (await lease())!;
    for (let time = 0, { beat } = (await lease())!; time < 3 * SILENT_MS; time += BEAT_MS) {
      const before = beat;
      for (const { clock } of writers) await clock.advance(BEAT_MS);
      for (; beat === before; { beat } = (await lease())!) await new Promise((next) => setTimeout(next, 5));
    }
    await other.relay.stop(5_000);
    assert.equal((await lease())!.token, token);
    resolve();
    await arrivals.count(1);
    assert.deepEqual(writers.map(({ handed }) => handed.length), [1, 0]);
  });

  it('one that reaches no bus leaves the lease to another', { timeout: 30_000 }, async (t) => {
    const { arrivals, writers, lease, texts } = await started(t, 2);
    const [one, other] = writers as [Writer, Writer];
    const { promise, reject } = Promise.withResolvers<void>();
    one.standsStill = promise;
    await one.publish('a');
    await one.carries;
    reject(new Fault('unavailable', 'No bus.', { reason: 'scripted', origin: 'lost' }));
    while ((await lease())!.held === 1) await new Promise((next) => setTimeout(next, 5));
    await other.clock.advance(SILENT_MS - 1);
    await arrivals.count(1);
    assert.deepEqual([texts(), one.handed.length], [['a'], 0]);
  });

  it('one that reaches no bus is told of no longer once another carries, also where there is always another message', { timeout: 30_000 }, async (t) => {
    const { arrivals, writers, lease } = await started(t, 2);
    const [one, other] = writers as [Writer, Writer];
    const away = Promise.withResolvers<void>();
    let gate = Promise.withResolvers<void>();
    one.standsStill = away.promise;
    other.standsStill = gate.promise;
    await one.publish('first');
    await one.carries;
    away.reject(new Fault('unavailable', 'No bus.', { reason: 'scripted', origin: 'lost' }));
    while ((await lease())!.held === 1) await new Promise((next) => setTimeout(next, 5));
    await other.publish('another');
    await other.carries;
    assert.match(one.relay.problem!, /^writer: /);
    let count = 2;
    for (; one.relay.problem !== undefined; count++) {
      // Behind what is in hand, so that there is always one.
      await other.publish(String(count));
      const next = Promise.withResolvers<void>();
      other.standsStill = next.promise;
      gate.resolve();
      gate = next;
      await one.clock.advance(LOOK_MS / 4);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    gate.resolve();
    await arrivals.count(count);
  });

  it('what the bus refuses is kept once, also by one that stood still until another had the lease', { timeout: 30_000 }, async (t) => {
    const { writers, lease, waiting } = await started(t, 2);
    const [one, other] = writers as [Writer, Writer];
    const { promise, resolve } = Promise.withResolvers<void>();
    one.standsStill = promise;
    await one.publish('x'.repeat(2_000));
    await one.carries;
    const before = (await lease())!.token;
    for (; (await lease())!.token === before; await new Promise((next) => setTimeout(next, 5))) await other.clock.advance(SILENT_MS / 6);
    while ((await waiting()) > 0) await new Promise((next) => setTimeout(next, 5));
    resolve();
    await one.relay.stop(5_000);
    assert.equal((await other.storage.db.selectFrom('fabric_refused').select('id').execute()).length, 1);
  });

  it('one that stops gives the lease to the others at once', { timeout: 30_000 }, async (t) => {
    const { arrivals, writers, texts } = await started(t, 2);
    const [one, other] = writers as [Writer, Writer];
    const { promise, resolve } = Promise.withResolvers<void>();
    one.standsStill = promise;
    await one.publish('a');
    await one.carries;
    await one.relay.stop(50);
    await other.publish('b');
    await arrivals.count(2);
    assert.deepEqual(texts(), ['a', 'b']);
    resolve();
  });
});
