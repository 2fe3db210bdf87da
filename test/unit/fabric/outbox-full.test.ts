import assert from 'node:assert/strict';
import { test, type TestContext as Test } from 'node:test';
import { z } from 'zod';
import { OutboxBacklog } from '../../../src/fabric/outbox-backlog.ts';
import { OutboxRelay } from '../../../src/fabric/outbox-relay.ts';
import { OutboxStore } from '../../../src/fabric/outbox.ts';
import { BusPublisher } from '../../../src/fabric/publisher.ts';
import { fabricMigrations, type FabricTables } from '../../../src/fabric/tables.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { job } from '../../../src/kernel/message.ts';
import type { Bus, Outgoing } from '../../../src/ports/bus.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { createBus, queueOf, sqliteAt, untilQueue, within } from '../../support/buses.ts';
import { noMetrics, silentLog, testContext, type TestContext } from '../../support/context.ts';
import { rejectsWith } from '../../support/faults.ts';

const mail = job('reader.mail', z.object({ text: z.string() }));
const publishes = new Set([mail.name]);
const TEXT = 'x'.repeat(1_000);
const w1 = { workspace: 'w1' };

/** What a bus answers instead of taking a message; undefined: it takes it. */
type Answer = () => Promise<void> | undefined;

interface Module {
  readonly bus: Bus;
  readonly store: OutboxStore<unknown>;
  readonly relay: OutboxRelay;
  readonly backlog: OutboxBacklog;
  readonly publisher: BusPublisher;
  stop(): Promise<void>;
}

const away = async (): Promise<void> => {
  throw new Fault('unavailable', 'The bus is away.', { origin: 'unsent' });
};

/** A module's outbox, its relay, and a real bus that answers as it is told. */
async function moduleAt(t: Test, place: TestContext, { answer, maxBytes = 10_000 }: { answer: Answer; maxBytes?: number }): Promise<Module> {
  const storage = sqliteAt(place)('module') as Storage<FabricTables>;
  const bus = createBus('embedded', place);
  const publish = bus.publish.bind(bus);
  const asked = Object.assign(bus, { capabilities: { ...bus.capabilities, spansHosts: true }, publish: (messages: readonly Outgoing[]) => answer() ?? publish(messages) });
  const backlog = new OutboxBacklog('writer', maxBytes);
  const relay = new OutboxRelay({ module: 'writer', storage, bus: asked, backlog, clock: place.clock, log: silentLog, metrics: noMetrics });
  const store = new OutboxStore<unknown>(storage as never, { module: 'writer', publishes, strict: true, clock: place.clock, backlog }, relay.wake);
  const awake = setInterval(() => {}, 60_000);
  const stop = async (): Promise<void> => {
    clearInterval(awake);
    for (const part of [relay, bus, storage]) await part.stop(1_000);
  };
  t.after(stop);
  await storage.start();
  await storage.migrate(fabricMigrations);
  await bus.start();
  await bus.declare(queueOf(mail.name));
  await relay.start();
  return { bus: asked, store, relay, backlog, publisher: new BusPublisher({ module: 'writer', publishes, bus: asked, outbox: store, clock: place.clock }), stop };
}

function placeOf(t: Test): TestContext {
  const place = testContext();
  t.after(() => place.remove());
  return place;
}

async function untilFull(store: OutboxStore<unknown>): Promise<Fault> {
  for (;;) {
    try {
      await store.transaction((tx) => tx.publish(mail, { text: TEXT }, w1));
    } catch (thrown) {
      return thrown as Fault;
    }
  }
}

test('a full outbox refuses new work with `exhausted` and a time to come again, takes what tells of something done, and is open again when the bus is back', async (t) => {
  let answer: Answer = away;
  const { bus, store, relay, backlog, publisher } = await moduleAt(t, placeOf(t), { answer: () => answer() });
  const fault = await rejectsWith('exhausted', Promise.reject(await untilFull(store)), 'outbox_full');
  assert.ok(Number(fault.details.retryAfterMs) > 0);
  await rejectsWith('exhausted', publisher.publish(mail, { text: TEXT }, w1), 'outbox_full');
  const { messages, bytes } = backlog;
  assert.ok(bytes >= 10_000 && bytes < 12_000, `${bytes}`);
  assert.match(relay.problem!, new RegExp(`^writer: ${messages} messages wait .* nothing new is taken`));

  await store.transaction((tx) => tx.publish(mail, { text: 'was sent' }, { ...w1, always: true }));
  await store.forHandlers.transaction((tx) => tx.publish(mail, { text: 'handled' }, w1));
  assert.equal(backlog.messages, messages + 2);

  answer = () => undefined;
  await untilQueue(bus, mail.name, ({ ready }) => ready.normal === messages + 2);
  await within(5_000, emptied(backlog), () => `${backlog.messages} messages`);
  assert.deepEqual([backlog.messages, backlog.bytes, relay.problem], [0, 0, undefined]);
  await store.transaction((tx) => tx.publish(mail, { text: 'next' }, w1));
});

test('a restart knows how much waits', async (t) => {
  const place = placeOf(t);
  const first = await moduleAt(t, place, { answer: away });
  await untilFull(first.store);
  const { messages, bytes } = first.backlog;
  await first.stop();
  const second = await moduleAt(t, place, { answer: away });
  assert.deepEqual([second.backlog.messages, second.backlog.bytes], [messages, bytes]);
  await rejectsWith('exhausted', Promise.reject(await untilFull(second.store)), 'outbox_full');
});

test('a transaction that fails leaves nothing that is counted', async (t) => {
  const { store, backlog } = await moduleAt(t, placeOf(t), { answer: away });
  await assert.rejects(store.transaction(async (tx) => {
    await tx.publish(mail, { text: TEXT }, w1);
    throw new Error('rolled back');
  }));
  assert.deepEqual([backlog.messages, backlog.bytes], [0, 0]);
});

test('what is published while the bus is away or silent is on disk within seconds, and comes once it is back', { timeout: 30_000 }, async (t) => {
  let answer: Answer = away;
  const { bus, publisher, backlog } = await moduleAt(t, placeOf(t), { answer: () => answer() });
  await publisher.publish(mail, { text: 'away' }, w1);
  const silence = Promise.withResolvers<void>();
  answer = () => silence.promise;
  await Promise.all(['silent', 'silent too'].map((text) => publisher.publish(mail, { text }, w1)));
  const began = performance.now();
  await publisher.publish(mail, { text: 'not asked' }, w1);
  assert.ok(performance.now() - began < 1_000, 'a second one waited for a silent bus');
  assert.equal(backlog.messages, 4);
  answer = () => undefined;
  silence.reject(new Fault('unavailable', 'It was cut.', { origin: 'lost' }));
  await untilQueue(bus, mail.name, ({ ready }) => ready.normal === 4);
});

test('what the bus refuses for another reason is told to the publisher', async (t) => {
  const { publisher, backlog } = await moduleAt(t, placeOf(t), { answer: async () => { throw new Fault('exhausted', 'Full.', { reason: 'backlog_full' }); } });
  await rejectsWith('exhausted', publisher.publish(mail, { text: 'x' }, w1), 'backlog_full');
  assert.equal(backlog.messages, 0);
});

async function emptied(backlog: OutboxBacklog): Promise<void> {
  while (backlog.messages > 0) await new Promise((resolve) => setTimeout(resolve, 10));
}
