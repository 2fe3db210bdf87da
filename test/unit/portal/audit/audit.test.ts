import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { Audit, type AuditEntry, type AuditFilter } from '../../../../modules/portal/audit/audit.ts';
import type { AuditRow } from '../../../../modules/portal/tables.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { openPortalStore, type PortalStore } from '../../../support/portal-store.ts';

const ROWS = 12_000;
const clock = new FakeClock();
let portal: PortalStore;
let audit: Audit;
/** How many statements the list needed. */
let reads = 0;

/** Entry i was made by actor i % 2, on target i % 100; the oldest ten say `rare`. */
const row = (i: number): AuditRow => ({
  id: `e${String(i).padStart(6, '0')}`,
  workspace_id: 'w1',
  actor_kind: 'user',
  actor_id: `a${i % 2}`,
  action: i < 10 ? 'rare' : 'usual',
  target_id: `t${i % 100}`,
  outcome: 'done',
  address: '192.0.2.1',
  call_id: 'c',
  time: clock.now(),
});

before(async () => {
  portal = await openPortalStore(clock);
  await portal.store.transaction(async (tx) => {
    for (let from = 0; from < ROWS; from += 1_000) await tx.db.insertInto('audit_entries').values(Array.from({ length: 1_000 }, (_, i) => row(from + i))).execute();
  });
  const store = new Proxy(portal.store, {
    get(target, property) {
      if (property === 'db') reads++;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  audit = new Audit(store, clock);
});
after(() => portal.close());

/** Every page until there is no next; answers the entries and the most statements that one page took. */
async function all(filter: AuditFilter, limit: number): Promise<{ entries: AuditEntry[]; pages: number; mostReads: number }> {
  const entries: AuditEntry[] = [];
  let mostReads = 0;
  let pages = 0;
  for (let next: string | null | undefined; next !== null; pages++) {
    reads = 0;
    const page = await audit.list('w1', { ...filter, before: next, limit });
    assert.ok(page.entries.length <= limit);
    mostReads = Math.max(mostReads, reads);
    entries.push(...page.entries);
    next = page.next;
  }
  return { entries, pages, mostReads };
}

const idsOf = (fits: (i: number) => boolean) => Array.from({ length: ROWS }, (_, i) => ROWS - 1 - i).filter(fits).map((i) => row(i).id);

test('each filter, alone and with others, finds every entry once and newest first', async () => {
  const cases: [AuditFilter, (i: number) => boolean][] = [
    [{ targetId: 't7' }, (i) => i % 100 === 7],
    [{ action: 'rare' }, (i) => i < 10],
    [{ actorId: 'a1', action: 'rare' }, (i) => i < 10 && i % 2 === 1],
    [{ actorId: 'a1', action: 'usual', targetId: 't7' }, (i) => i >= 10 && i % 100 === 7],
    [{ actorId: 'a0', targetId: 't7' }, () => false],
    [{ actorId: 'nobody' }, () => false],
  ];
  for (const [filter, fits] of cases) {
    for (const limit of [1, 7, 200]) assert.deepEqual((await all(filter, limit)).entries.map((entry) => entry.entryId), idsOf(fits), `${JSON.stringify(filter)} by ${limit}`);
  }
  assert.equal((await audit.list('w2', { limit: 10 })).entries.length, 0);
});

test('a page of several filters reads a bounded part, and says where to go on', async () => {
  const { entries, pages, mostReads } = await all({ actorId: 'a1', action: 'rare' }, 50);
  assert.equal(entries.length, 5);
  assert.equal(pages, 2);
  assert.ok(mostReads <= 20, `${mostReads} statements`);
});

test('one filter needs one statement, whatever lies in between', async () => {
  for (const filter of [{ action: 'rare' }, { targetId: 't7' }, { actorId: 'nobody' }]) {
    reads = 0;
    await audit.list('w1', { ...filter, limit: 10 });
    assert.equal(reads, 1);
  }
});

test('the database goes straight to what a filter asks for', async () => {
  const { db } = portal.store;
  for (const column of ['actor_id', 'action', 'target_id'] as const) {
    const plan = await db.selectFrom('audit_entries').selectAll().where('workspace_id', '=', 'w1').where(column, '=', 'x').where('id', '<', 'e').orderBy('id', 'desc').limit(10).explain(undefined, sql`query plan`);
    assert.match(JSON.stringify(plan), new RegExp(`audit_entries_by_${column} \\(workspace_id=\\? AND ${column}=\\? AND id<\\?\\)`));
    assert.doesNotMatch(JSON.stringify(plan), /TEMP B-TREE/);
  }
});
