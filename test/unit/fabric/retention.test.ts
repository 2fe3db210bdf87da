import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { sendRequested } from '../../../modules/notification/contract.ts';
import { notificationModule } from '../../../modules/notification/module.ts';
import { portalModule } from '../../../modules/portal/module.ts';
import { triggerModule } from '../../../modules/trigger/module.ts';
import type { ModuleDefinition } from '../../../src/kernel/module.ts';
import type { Bus } from '../../../src/ports/bus.ts';
import { statement, type Storage } from '../../../src/ports/storage.ts';
import { InboxPruner } from '../../../src/fabric/inbox.ts';
import { type KeptDays, Retention } from '../../../src/fabric/retention.ts';
import { fabricMigrations } from '../../../src/fabric/tables.ts';
import { createBus, messageTo, queueOf } from '../../support/buses.ts';
import { noMetrics, silentLog, testContext } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { longestTurn } from '../../support/longest-turn.ts';
import { onEachStorage, type StorageUnderTest } from '../../support/storages.ts';

const DAY_MS = 86_400_000;
const ROUND_MS = 600_000;
const NOW = Date.UTC(2026, 10, 21);

async function opened({ create, place }: StorageUnderTest, t: TestContext, { migrations }: ModuleDefinition): Promise<Storage<any>> {
  const storage = create(t, place(t)) as Storage<any>;
  await storage.start();
  await storage.migrate([...fabricMigrations, ...migrations]);
  return storage;
}

async function fill<Row extends object>(storage: Storage<any>, table: string, rows: readonly Row[]): Promise<void> {
  const columns = Object.keys(rows[0]!);
  const insert = statement<any, any>()((db, p) => db.insertInto(table).values(Object.fromEntries(columns.map((column) => [column, p(column)]))));
  await storage.transaction(async (tx) => {
    for (const row of rows) await tx.run(insert, row);
  }, { timeoutMs: 60_000 });
}

/** Resolves when the round that was due is over and the next one is set. */
async function armed(clock: FakeClock): Promise<void> {
  while (clock.pending === 0) await new Promise((resolve) => setImmediate(resolve));
}

/** A bus, mostly one that knows the queue of those who are asked to send. */
async function sends(t: TestContext, clock: FakeClock, isKnown = true): Promise<Bus> {
  const place = testContext({ clock });
  const bus = createBus('embedded', place);
  t.after(async () => {
    await bus.stop(1_000);
    place.remove();
  });
  await bus.start();
  if (isKnown) await bus.declare(queueOf(sendRequested.name));
  return bus;
}

function rig(t: TestContext, module: ModuleDefinition, storage: Storage<any>, keptDays: KeptDays, bus: Bus = createBus('embedded', testContext())) {
  const clock = new FakeClock(NOW);
  let removed = 0;
  const metrics = { ...noMetrics, counter: () => ({ add: (rows: number) => (removed += rows) }) };
  const retention = new Retention({ module: module.name, tables: module.retention!, keptDays, storage, bus, clock, log: silentLog, metrics });
  t.after(() => retention.stop(1_000));
  return {
    clock,
    retention,
    get removed() { return removed; },
    async round() {
      await armed(clock);
      await clock.advance(ROUND_MS);
      await armed(clock);
    },
  };
}

const event = (n: number, ageDays: number) => ({ id: String(n).padStart(6, '0'), workspace_id: `w${n % 3}`, person_id: 'p', type: 'track', name: 'n', properties_json: '{}', context_json: null, time: 1, received_at: NOW - ageDays * DAY_MS });
const delivery = (n: number, over: object) => ({ workspace: `w${n % 3}`, id: `d${n}`, person_id: 'p', channel: 'email', template_id: 't', template_version: null, source_kind: 'automation', source_id: 's', source_version: 1, run_id: 'r', event_id: 'e', to_address: null, state: 'sent', reason: null, message_id: 'm', may_be_repeated: 0, tries: 0, attempts: '[]', next_attempt_at: null, created_at: NOW - n, updated_at: NOW, ...over });

onEachStorage('retention', (under) => {
  test('old events go, the younger ones stay, and no turn of the event loop takes long', async (t) => {
    const storage = await opened(under, t, portalModule);
    await fill(storage, 'events', Array.from({ length: 3_000 }, (_, n) => event(n, n < 2_500 ? 31 : 29)));
    const { retention, round } = rig(t, portalModule, storage, { events: 30, audit: null });
    await retention.start();
    const longest = longestTurn(t);
    await round();
    const longestMs = longest.ms();
    const left = await storage.db.selectFrom('events').select('id').orderBy('id').execute();
    assert.deepEqual([left.length, left[0]!.id], [500, '002500']);
    t.diagnostic(`longest turn ${Math.round(longestMs)} ms`);
    assert.ok(longestMs < 50);
  });

  test('deliveries go when they have come to rest, of every workspace; those under way stay, however old', async (t) => {
    const storage = await opened(under, t, notificationModule);
    const old = NOW - 31 * DAY_MS;
    const rows = [...['sent', 'failed', 'suppressed', 'uncertain', 'pending', 'sending'].map((state, n) => delivery(n, { state, updated_at: old })), ...Array.from({ length: 900 }, (_, n) => delivery(n + 10, n % 2 === 0 ? { updated_at: old } : {}))];
    await fill(storage, 'deliveries', rows);
    const one = rig(t, notificationModule, storage, { deliveries: 30 }, await sends(t, new FakeClock(NOW)));
    await one.retention.start();
    await one.round();
    const left = await storage.db.selectFrom('deliveries').select(['state', 'updated_at']).execute();
    assert.equal(left.length, 452);
    assert.deepEqual(left.filter(({ updated_at: at }) => at === old).map(({ state }) => state).sort(), ['pending', 'sending']);
    assert.equal(one.removed, 454);
    // The way round begins anew: what has aged meanwhile goes too.
    await one.clock.advance(31 * DAY_MS);
    await one.round();
    assert.equal((await storage.db.selectFrom('deliveries').select('id').execute()).length, 2);
  });

  test('a delivery stays, however old, while a message waits that may ask for it again, as in a copy whose sending is held', async (t) => {
    const storage = await opened(under, t, notificationModule);
    const time = new FakeClock(NOW);
    const bus = await sends(t, time);
    await bus.publish([messageTo(sendRequested.name, { id: 'd1', time: NOW })]);
    await fill(storage, 'deliveries', [delivery(0, { updated_at: NOW - 2 * DAY_MS }), delivery(1, {})]);
    const { clock, retention, round } = rig(t, notificationModule, storage, { deliveries: 7 }, bus);
    const left = async () => (await storage.db.selectFrom('deliveries').select('id').execute()).map(({ id }) => id);
    await retention.start();
    for (const own of [time, clock]) await own.advance(30 * DAY_MS);
    await round();
    assert.deepEqual(await left(), ['d1']);
    // Nor while the bus cannot say what waits.
    const early = rig(t, notificationModule, storage, { deliveries: 7 }, await sends(t, time, false));
    await early.retention.start();
    await early.clock.advance(30 * DAY_MS);
    await early.round();
    assert.deepEqual(await left(), ['d1']);
    await bus.purge(sendRequested.name, { dead: false, filter: {} });
    await round();
    assert.deepEqual(await left(), []);
  });

  test('entries go by the time of their event; nothing goes that is to be kept for good', async (t) => {
    const storage = await opened(under, t, triggerModule);
    await fill(storage, 'entries', Array.from({ length: 1_000 }, (_, n) => ({ workspace: `w${n % 3}`, person_id: `p${n}`, automation_id: 'a', event_at: NOW - (n % 2) * 400 * DAY_MS, event_id: `e${n}` })));
    const kept = rig(t, triggerModule, storage, { entries: null });
    await kept.retention.start();
    assert.equal(kept.clock.pending, 0);
    const one = rig(t, triggerModule, storage, { entries: 365 });
    await one.retention.start();
    await one.round();
    assert.equal((await storage.db.selectFrom('entries').select('event_id').execute()).length, 500);
  });

  test('cut off in the middle, what is gone stays gone and the rest goes after the next start', async (t) => {
    const storage = await opened(under, t, portalModule);
    await fill(storage, 'events', Array.from({ length: 2_000 }, (_, n) => event(n, 31)));
    const first = rig(t, portalModule, storage, { events: 30 });
    await first.retention.start();
    const cut = first.clock.advance(ROUND_MS);
    while (first.removed === 0) await new Promise((resolve) => setImmediate(resolve));
    await first.retention.stop(1_000);
    await cut;
    assert.ok(first.removed < 2_000 && first.clock.pending === 0);
    assert.equal((await storage.db.selectFrom('events').select('id').execute()).length, 2_000 - first.removed);
    const second = rig(t, portalModule, storage, { events: 30 });
    await second.retention.start();
    await second.round();
    assert.equal(first.removed + second.removed, 2_000);
  });

  test('handled messages are remembered for as long as is configured', async (t) => {
    const storage = await opened(under, t, triggerModule);
    await fill(storage, 'fabric_inbox', [1, 3].map((days) => ({ queue: 'q', id: `${days} days`, time: NOW - days * DAY_MS })));
    const clock = new FakeClock(NOW);
    const pruner = new InboxPruner(storage, clock, silentLog, 2);
    t.after(() => pruner.stop(1_000));
    await pruner.start();
    await clock.advance(ROUND_MS);
    await armed(clock);
    assert.deepEqual((await storage.db.selectFrom('fabric_inbox').select('id').execute()).map(({ id }) => id), ['1 days']);
  });
});
