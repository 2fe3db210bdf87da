import assert from 'node:assert/strict';
import { describe, it, type TestContext as Test, test } from 'node:test';
import { z } from 'zod';
import { OutboxBacklog } from '../../../src/fabric/outbox-backlog.ts';
import { OutboxRelay } from '../../../src/fabric/outbox-relay.ts';
import { OutboxStore } from '../../../src/fabric/outbox.ts';
import { fabricMigrations, type FabricTables } from '../../../src/fabric/tables.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { job } from '../../../src/kernel/message.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { Arrivals, createBus, queueOf, sqliteAt } from '../../support/buses.ts';
import { noMetrics, silentLog, testContext, type TestContext } from '../../support/context.ts';

const mail = job('reader.mail', z.object({ text: z.string() }), { orderBy: () => 'k' });

interface Run {
  readonly storage: Storage<FabricTables>;
  readonly arrivals: Arrivals;
  /** Resolves when the relay has put a message aside. */
  readonly putAside: Promise<void>;
  publish(...texts: string[]): Promise<void>;
  stop(): Promise<void>;
}

/** A module's database, its relay and the bus at one place, started in the order of a host. */
async function startedAt(t: Test, place: TestContext, maxMessageBytes: number): Promise<Run> {
  const storage = sqliteAt(place)('module') as Storage<FabricTables>;
  const bus = createBus('embedded', place, { maxMessageBytes });
  let wasPutAside = (): void => {};
  const putAside = new Promise<void>((resolve) => (wasPutAside = resolve));
  const relay = new OutboxRelay({ module: 'writer', storage, bus, backlog: new OutboxBacklog('writer', Infinity), clock: place.clock, log: { ...silentLog, error: () => wasPutAside() }, metrics: noMetrics });
  const store = new OutboxStore(storage, { module: 'writer', publishes: new Set([mail.name]), strict: true, clock: place.clock }, relay.wake);
  const arrivals = new Arrivals();
  // The clock's timers do not keep a process alive, which here may have nothing else to do.
  const awake = setInterval(() => {}, 60_000);
  const stop = async (): Promise<void> => {
    clearInterval(awake);
    for (const part of [relay, bus, storage]) await part.stop(5_000);
  };
  t.after(stop);
  await storage.start();
  await storage.migrate(fabricMigrations);
  await bus.start();
  await bus.declare(queueOf(mail.name));
  await relay.start();
  await bus.consume(mail.name, { concurrency: 1 }, arrivals.handler);
  return {
    storage,
    arrivals,
    putAside,
    publish: (...texts) =>
      store.transaction(async (tx) => {
        for (const text of texts) await tx.publish(mail, { text }, { workspace: 'w1', notBefore: 1 });
      }),
    stop,
  };
}

describe('a message that the bus refuses', () => {
  it('is delivered after a restart with a bus that takes it, once, as it was published', { timeout: 30_000 }, async (t) => {
    const place = testContext();
    t.after(() => place.remove());
    const large = 'x'.repeat(2_000);
    const before = await startedAt(t, place, 1_024);
    await before.publish('before', large, 'after');
    await before.putAside;
    await before.arrivals.count(2);
    const [refused] = await before.storage.db.selectFrom('fabric_refused').selectAll().execute();
    await before.stop();

    const after = await startedAt(t, place, 4_096);
    await after.arrivals.count(1);
    await after.publish('next');
    await after.arrivals.count(2);
    assert.deepEqual(after.arrivals.messages.map(({ payload }) => JSON.parse(payload) as unknown), [{ text: large }, { text: 'next' }]);
    const [arrived] = after.arrivals.messages;
    assert.deepEqual([arrived!.id, arrived!.name, arrived!.workspace, arrived!.lane, arrived!.time], [refused!.id, mail.name, 'w1', refused!.lane, refused!.time]);
    assert.deepEqual(await after.storage.db.selectFrom('fabric_refused').select('id').execute(), []);
  });

  it('is kept over a restart with a bus that still refuses it', { timeout: 30_000 }, async (t) => {
    const place = testContext();
    t.after(() => place.remove());
    const before = await startedAt(t, place, 1_024);
    await before.publish('x'.repeat(2_000));
    await before.putAside;
    const refused = await before.storage.db.selectFrom('fabric_refused').selectAll().execute();
    await before.stop();
    const after = await startedAt(t, place, 1_024);
    await after.putAside;
    assert.equal(refused.length, 1);
    assert.deepEqual(await after.storage.db.selectFrom('fabric_refused').selectAll().execute(), refused);
  });
});

test('a relay stops within its deadline while the bus does not answer, and keeps the messages', { timeout: 30_000 }, async (t) => {
  const place = testContext();
  const storage = sqliteAt(place)('module') as Storage<FabricTables>;
  const bus = createBus('embedded', place);
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  bus.publish = () => {
    asked.resolve();
    return answer.promise;
  };
  const relay = new OutboxRelay({ module: 'writer', storage, bus, backlog: new OutboxBacklog('writer', Infinity), clock: place.clock, log: silentLog, metrics: noMetrics });
  const store = new OutboxStore(storage, { module: 'writer', publishes: new Set([mail.name]), strict: true, clock: place.clock }, relay.wake);
  t.after(async () => {
    await storage.stop(5_000);
    place.remove();
  });
  await storage.start();
  await storage.migrate(fabricMigrations);
  await relay.start();
  await store.transaction((tx) => tx.publish(mail, { text: 'late' }, { workspace: 'w1', notBefore: 1 }));
  await asked.promise;
  const startedAt = performance.now();
  await relay.stop(100);
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs >= 90 && tookMs < 5_000, `${tookMs} ms`);
  answer.reject(new Fault('unavailable', 'Away.', { origin: 'lost' }));
  await new Promise(setImmediate);
  assert.equal((await storage.db.selectFrom('fabric_outbox').select('id').execute()).length, 1);
});

test('a bus that takes messages again is no problem any more, also where there is always another one', { timeout: 30_000 }, async (t) => {
  const place = testContext();
  const storage = sqliteAt(place)('module') as Storage<FabricTables>;
  const bus = createBus('embedded', place);
  const problems: (string | undefined)[] = [];
  const over = Promise.withResolvers<void>();
  const awake = setInterval(() => {}, 60_000);
  bus.publish = async () => {
    problems.push(relay.problem);
    if (problems.length === 1) throw new Fault('unavailable', 'Away.', { origin: 'unsent' });
    if (problems.length === 4) return over.resolve();
    await publish();
  };
  const relay = new OutboxRelay({ module: 'writer', storage, bus, backlog: new OutboxBacklog('writer', Infinity), clock: place.clock, log: silentLog, metrics: noMetrics });
  const store = new OutboxStore(storage, { module: 'writer', publishes: new Set([mail.name]), strict: true, clock: place.clock }, relay.wake);
  const publish = () => store.transaction((tx) => tx.publish(mail, { text: 'one more' }, { workspace: 'w1', notBefore: 1 }));
  t.after(async () => {
    clearInterval(awake);
    for (const part of [relay, storage]) await part.stop(5_000);
    place.remove();
  });
  await storage.start();
  await storage.migrate(fabricMigrations);
  await relay.start();
  await publish();
  await over.promise;
  assert.deepEqual(problems.map((problem) => problem !== undefined), [false, true, false, false]);
});
