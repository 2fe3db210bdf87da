import assert from 'node:assert/strict';
import { after, before, describe, test, type TestContext as Test } from 'node:test';
import { DeliveryQueries } from '../../../modules/notification/deliveries/delivery-queries.ts';
import * as deliveries from '../../../modules/notification/deliveries/delivery-statements.ts';
import { migrations as notificationMigrations } from '../../../modules/notification/migrations.ts';
import { Suppressions } from '../../../modules/notification/suppressions/suppressions.ts';
import { OutboxBacklog } from '../../../src/fabric/outbox-backlog.ts';
import { OutboxRelay } from '../../../src/fabric/outbox-relay.ts';
import { OutboxStore } from '../../../src/fabric/outbox.ts';
import type { Statement } from '../../../src/ports/storage.ts';
import { createBus, queueOf } from '../../support/buses.ts';
import { noMetrics, silentLog, testContext } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { moduleStorage, TEST_POSTGRES } from '../../support/module-storage.ts';
import { openPeople } from '../../support/portal-people.ts';
import { PostgresServer } from '../../support/postgres.ts';
import { fillTables, type Planned, postgresPlans, recordStatements, sqlitePlans } from '../../support/statement-plans.ts';
import { person, TriggerRig } from '../../support/trigger-rig.ts';

/** What a database keeps of itself, the few who work with an installation, and a lease or two. */
const SMALL = '(?:sqlite_master|sqlite_schema|migrations|pg_class|pg_constraint|users|fabric_refused|fabric_leases)';
const READS_ALL = new RegExp(`Seq Scan on (?!${SMALL}\\b)\\w+|SCAN (?!${SMALL}\\b)\\w+`);
/** Of a statement that names ids: who does not know how much a workspace holds walks past all of it. */
const READS_A_WORKSPACE = /\(workspace(?:_id)?=\?\)|Index Cond: \(workspace(?:_id)? = \$\d+\)$/m;
/** What is left to do where an index does not lead to the page that is asked for. */
const SORTS = /TEMP B-TREE FOR ORDER BY|Sort Key/;
/** Wanted whole: the rules of a workspace, and a source's few counts. */
const MAY_SORT = /from "automations" as "a" inner join |from "delivery_counts"/;
/** The first rows in the order of a key, or any one, or what a limit inside has cut: SQLite calls it a scan all the same. */
const FIRST_ROWS = [
  /^select "due", "run_id" from "agenda" order by "due", "run_id" limit /,
  /^select "p"\."workspace", .* from "purges" as "p" limit /s,
  /^select \* from "fabric_outbox" order by "seq" limit /,
  / from \(select "seq", "payload" from "fabric_outbox" where "seq" > \S+ order by "seq" limit \S+\) as "some"$/,
  /^update "fabric_leases" set .* \(select "seq" from "fabric_outbox" order by "seq" limit \S+\) is null/,
];

const limit = 10;

for (const driver of ['sqlite', 'postgres'] as const) {
  describe(`no statement of the main job or of a list reads a whole table: ${driver}`, () => {
    const server = new PostgresServer();
    before(async () => {
      if (driver !== 'postgres') return;
      await server.start();
      process.env[TEST_POSTGRES] = String(server.port);
    });
    after(async () => {
      delete process.env[TEST_POSTGRES];
      await server.remove();
    });

    const check = async (planned: Planned, tables: readonly string[], texts: readonly string[], least: number): Promise<void> => {
      assert.ok(texts.length >= least, `${texts.length} statements`);
      await fillTables(planned, tables);
      const plans = await (driver === 'postgres' ? postgresPlans(planned, server, texts) : sqlitePlans(planned, texts));
      const readsTooMuch = (text: string, plan: string) => (READS_ALL.test(plan) && !FIRST_ROWS.some((pattern) => pattern.test(text))) || (/" in \(/.test(text) && READS_A_WORKSPACE.test(plan));
      const faults = [...plans].filter(([text, plan]) => readsTooMuch(text, plan) || (SORTS.test(plan) && !MAY_SORT.test(text)));
      assert.deepEqual(faults, []);
    };
    const record = (t: Test): (() => string[]) => {
      const recorded = recordStatements(driver);
      t.after(() => recorded.stop());
      return recorded.texts;
    };

    test('portal: ingest, people, events, the trouble with them, segments', async (t) => {
      const texts = record(t);
      const bench = await openPeople(new FakeClock());
      const call = bench.call();
      const condition = { field: 'person.email', op: 'exists' as const };
      const { segmentId: segment } = await bench.segments.create({ name: 'S', condition }, call);
      const track = { type: 'track', messageId: 'm2', userId: 'u1', event: 'E' };
      await bench.ingest([{ type: 'identify', messageId: 'm1', userId: 'u1', anonymousId: 'a1', traits: { email: 'a@x.example' } }, track, { type: 'group', userId: 'u1', groupId: 'g' }, track]);
      const { personId } = await bench.user('u1');
      for (const page of [{ limit }, { limit, before: 'x' }, { limit, email: 'a' }, { limit, userId: 'u', before: '["a","x"]' }, { limit, segment }, { limit, segment, before: 'x' }]) await bench.people.list(page, call);
      await bench.timeline.list(personId, { limit }, call);
      await bench.timeline.recent({ limit, before: 'x' }, call);
      await bench.problems.list('w1', { limit, before: 'x' });
      for (const many of [1, 2, 5, 60]) await bench.recipients.getRecipients({ personIds: Array.from({ length: many }, (_, i) => `p${i}`) }, call);
      await bench.segments.save(segment, { name: 'T', condition }, call);
      await bench.segments.list(call);
      while (await bench.settle());
      await bench.segments.remove(segment, call);
      while (await bench.settle());
      const ofTheTest = /^select "payload" from "fabric_outbox"/;
      await check(bench.store, ['segments', 'segment_members', 'people', 'identities', 'erased_identities', 'events', 'seen_messages', 'groups', 'ingest_problems'], texts().filter((text) => !ofTheTest.test(text)), 20);
      await bench.close();
    });

    test('trigger: inbox, entries, agenda, outbox', async (t) => {
      const texts = record(t);
      const rig = await new TriggerRig().start();
      const context = testContext();
      const bus = createBus('embedded', context);
      await bus.start();
      await bus.declare(queueOf('notification.send-requested'));
      await rig.save({});
      await rig.save({ waitMs: 1_000 });
      for (const version of [1, 2]) await rig.event({ person: person('p1', { version }) });
      await rig.advance(2_000);
      await rig.agendaRows();
      const relay = new OutboxRelay({ module: 'trigger', storage: rig.storage, bus, backlog: new OutboxBacklog('trigger', Infinity), clock: rig.clock, log: silentLog, metrics: noMetrics });
      await relay.start();
      await relay.stop(5_000);
      await bus.stop(5_000);
      const ofTheBus = /(?:from|into|update|join) "?(?:queue|message|workspace|paused_workspace)\b/i;
      await check(rig.storage, ['automations', 'automation_versions', 'people', 'entries', 'agenda', 'fabric_inbox', 'fabric_outbox'], texts().filter((text) => !ofTheBus.test(text)), 15);
      await rig.dispose();
      context.remove();
    });

    test('notification: deliveries, their lists and counts, suppressions', async (t) => {
      const context = testContext();
      const storage = moduleStorage(context, 'notification');
      await storage.start();
      await storage.migrate(notificationMigrations);
      await fillTables(storage, ['deliveries']);
      const texts = record(t);
      const store = new OutboxStore(storage, { module: 'notification', publishes: new Set(), strict: true, clock: context.clock }, () => {});
      const queries = new DeliveryQueries(store);
      for (const filter of [{}, { personId: 'p' }, { sourceId: 's' }, { state: 'sent' as const }, { personId: 'p', state: 'sent' as const }]) {
        const { items } = await queries.list('w1', { limit, ...filter });
        assert.equal(items.length, Object.keys(filter).length === 0 ? limit : 0);
      }
      await queries.count('w1', 's');
      await new Suppressions(store, context.clock).list('w1', { limit });
      const { findSuppressions, ...single } = deliveries;
      const exported = [...Object.values(single), ...findSuppressions.map(({ statement }) => statement)].filter((one): one is Statement<any, any> => typeof one === 'object');
      const built = exported.map((one) => one.build(storage.db).compile().sql);
      await check(storage, ['delivery_counts', 'suppressions', 'test_mails'], [...new Set([...texts(), ...built])], 12);
      await storage.stop(1_000);
      context.remove();
    });
  });
}
