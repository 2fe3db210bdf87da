import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import { statement } from '../../../src/ports/storage.ts';
import type { Log, Metrics } from '../../../src/kernel/telemetry.ts';
import { noMetrics, silentLog } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { onEachStorage, type Tables } from '../../support/storages.ts';

interface Told {
  readonly ms: number;
  readonly untold: number;
  readonly statements: readonly { readonly text: string; readonly plan: string | null }[];
}

const SECRET = 'hunter2@customer.example';
const ROWS = 2_000;

/** Millions of steps, over a table that no index narrows. */
const slowRead = statement<Tables, { body: string }>()((db, p) =>
  db.selectFrom('notes as a').innerJoin('notes as b', (on) => on.onRef('a.body', '<', 'b.body')).where('a.body', '!=', p('body')).select((eb) => eb.fn.countAll<number>().as('n')),
);
const slowWrite = statement<Tables, { body: string }>()((db, p) =>
  db.updateTable('notes').set({ n: 1 }).where((eb) => eb(eb.selectFrom('notes as a').innerJoin('notes as b', (on) => on.onRef('a.body', '<', 'b.body')).where('a.body', '!=', p('body')).select((s) => s.fn.countAll<number>().as('n')), '<', 0)),
);

onEachStorage('slow statements', ({ open, place, create, migration }) => {
  const filled = async (t: Parameters<typeof open>[0], settings: object) => {
    const told: Told[] = [];
    let counted = 0;
    const clock = new FakeClock();
    const log: Log = { ...silentLog, warn: (fields) => void told.push(fields as Told), child: () => log };
    const metrics: Metrics = { ...noMetrics, counter: (name) => ({ add: (n = 1) => void (counted += name === 'storage_slow_statements_total' ? n : 0) }) };
    const storage = create(t, { ...place(t), clock, log, metrics }, settings);
    await storage.start();
    await storage.migrate([migration]);
    const fill = sql`with recursive g(i) as (select 1 union all select i + 1 from g where i < ${sql.lit(ROWS)}) insert into notes (id, body) select 'n' || i, 'b' || i from g where true`;
    await storage.transaction((tx) => fill.execute(tx.db), { timeoutMs: 60_000 });
    told.length = 0;
    counted = 0;
    return { storage, told, clock, counted: () => counted };
  };

  test('are told of with their plan and without their values, once a minute, and counted each time', async (t) => {
    const { storage, told, clock, counted } = await filled(t, { slowStatementMs: 20 });
    await storage.run(slowRead, { body: SECRET });
    await storage.run(slowRead, { body: SECRET });
    await storage.transaction((tx) => tx.run(slowWrite, { body: SECRET }), { timeoutMs: 60_000 });
    await clock.advance(61_000);
    await storage.run(slowRead, { body: SECRET });
    await storage.stop(5_000);
    assert.ok(counted() >= 4);
    assert.ok(!JSON.stringify(told).includes(SECRET));
    const reads = told.filter(({ statements }) => statements.some(({ text }) => text.startsWith('select count(*)')));
    assert.equal(reads.length, 2);
    assert.match(reads[0]!.statements[0]!.plan!, /scan/i);
    assert.ok(reads[0]!.ms >= 20);
    const write = told.flatMap(({ statements }) => statements).find(({ text }) => text.startsWith('update "notes"'));
    assert.match(write!.plan!, /notes/);
    assert.ok(told.some(({ untold }) => untold > 0));
    const texts = told.flatMap(({ statements }) => statements.map(({ text }) => text));
    assert.deepEqual(texts.filter((text) => /^(SAVEPOINT|RELEASE|ROLLBACK|COMMIT|BEGIN|SET)/i.test(text)), [], 'what sets transactions apart is no statement of anybody');
  });

  test('are not told of when nobody asks for it', async (t) => {
    const { storage, told, counted } = await filled(t, { slowStatementMs: 0 });
    await storage.run(slowRead, { body: SECRET });
    await storage.stop(5_000);
    assert.deepEqual([told, counted()], [[], 0]);
  });
});
