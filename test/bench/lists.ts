import { sql } from 'kysely';
import type { PeopleFilter } from '../../modules/portal/people/people.ts';
import { LiveSegments } from '../../modules/portal/segments/live-segments.ts';
import { settleSegment, SettleSegmentHandler } from '../../modules/portal/segments/settle-handler.ts';
import { newTrace } from '../../src/kernel/call.ts';
import { newId } from '../../src/kernel/ids.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { TEST_POSTGRES } from '../support/module-storage.ts';
import { openPeople, WORKSPACE } from '../support/portal-people.ts';
import { PostgresServer } from '../support/postgres.ts';
import type { BenchRow } from './report.ts';

/** MULTILITH_BENCH_PEOPLE=200000 for a quick look; fewer have no page 1,000 of a segment. */
const PEOPLE = Number(process.env.MULTILITH_BENCH_PEOPLE ?? 1_000_000);
const AT_ONCE = 50_000;
const PAGE = 50;
const LATE_PAGE = 1_000;
const LOOKS = 31;
const MILLIONS = `${PEOPLE / 1_000_000}M`;

/** Beginnings that nearly everybody has: the most that a filter can leave to do. */
const FILTERS = { 'without a filter': {}, 'by e-mail address': { email: 'person' }, 'by userId': { userId: 'user' } } as const;
type Bench = Awaited<ReturnType<typeof openPeople>>;

/** A page of the list of people among a million, the first and a late one, on both storages: the slowest of its filters, and a segment. */
export async function benchLists(): Promise<BenchRow[]> {
  const server = await new PostgresServer().start();
  try {
    const onSqlite = await measure('sqlite');
    process.env[TEST_POSTGRES] = String(server.port);
    return [...onSqlite, ...(await measure('postgres', () => server.psql('analyze')))];
  } finally {
    delete process.env[TEST_POSTGRES];
    await server.remove();
  }
}

async function measure(storage: string, analyzed: () => unknown = () => {}): Promise<BenchRow[]> {
  const bench = await openPeople(new FakeClock());
  try {
    for (let from = 0; from < PEOPLE; from += AT_ONCE) await fill(bench, from);
    analyzed();
    const rows = [await slowest(bench, storage, 1), await slowest(bench, storage, LATE_PAGE)];
    const filled = await fillSegment(bench, storage);
    analyzed();
    for (const page of [1, LATE_PAGE]) {
      const ms = await look(bench, { segment: filled.segment }, page);
      rows.push({ name: `lists.segment-page-${page}-of-${MILLIONS}.${storage}`, value: ms, unit: 'ms', aim: 50, better: 'lower', note: `${PAGE} of ${filled.people} people in it; whole answer of the module` });
    }
    return [...rows, ...filled.rows];
  } finally {
    await bench.close();
  }
}

/** One of ten has gone, one of ten is another workspace's. */
async function fill({ store }: Bench, from: number): Promise<void> {
  const insert = sql`
    with recursive g(i) as (select ${sql.lit(from + 1)} union all select i + 1 from g where i < ${sql.lit(from + AT_ONCE)})
    insert into people (id, workspace_id, version, user_id, email, email_key, attributes_json, stamps_json, time_zone, consent_email, consent_by, consent_at, gone, merged_into, created_at, updated_at)
    select 'p' || (10000000 + i), case when i % 10 = 3 then 'w2' else ${sql.lit(WORKSPACE)} end, 1, 'user' || (10000000 + i), 'person' || (10000000 + i) || '@customer.example', 'person' || (10000000 + i) || '@customer.example',
      '{"firstName":"Maria","plan":"' || case when i % 2 = 0 then 'gold' else 'home' end || '","policies":[{"number":"P-1","premium":480}]}', '{}', null, 'unknown', 'api', 0, case when i % 10 = 7 then 1 else 0 end, null, i, i
    from g where true`;
  await store.transaction((tx) => insert.execute(tx.db), { timeoutMs: 60_000 });
}

async function slowest(bench: Bench, storage: string, page: number): Promise<BenchRow> {
  const found: { name: string; ms: number }[] = [];
  for (const [name, filter] of Object.entries(FILTERS)) found.push({ name, ms: await look(bench, filter, page) });
  const { name, ms } = found.reduce((worst, one) => (one.ms > worst.ms ? one : worst));
  return { name: `lists.people-page-${page}-of-${MILLIONS}.${storage}`, value: ms, unit: 'ms', aim: 50, better: 'lower', note: `${PAGE} people, ${name}; whole answer of the module` };
}

/** The median time of a page. */
async function look(bench: Bench, filter: PeopleFilter, page: number): Promise<number> {
  const before = await cursorOf(bench, filter, page);
  const times: number[] = [];
  for (let time = 0; time < LOOKS; time++) {
    const began = performance.now();
    const people = await bench.people.list({ limit: PAGE, before, ...filter }, bench.call());
    times.push(performance.now() - began);
    if (people.length !== PAGE) throw new Error(`${people.length} people on page ${page} of ${JSON.stringify(filter)}`);
  }
  return times.sort((a, b) => a - b)[LOOKS >> 1]!;
}

/** Looks at everybody for a segment that half of them belong to, piece by piece as the queue would. */
async function fillSegment({ store, segments, call }: Bench, storage: string): Promise<{ segment: string; people: number; rows: BenchRow[] }> {
  const handler = new SettleSegmentHandler(new LiveSegments());
  const { segmentId: segment } = await segments.create({ name: 'Gold', condition: { field: 'person.plan', op: 'eq', value: 'gold' } }, call());
  const { condition_id: conditionId } = await store.db.selectFrom('segments').select('condition_id').executeTakeFirstOrThrow();
  const received = { id: newId(), name: settleSegment.name, workspace: WORKSPACE, payload: { segmentId: segment, conditionId }, time: 0, trace: newTrace(), attempt: 1, last: false };
  const began = performance.now();
  let longest = 0;
  for (;;) {
    const from = performance.now();
    await store.transaction((tx) => handler.handle(received, tx));
    longest = Math.max(longest, performance.now() - from);
    const { state, people, lookedAt } = await segments.get(segment, call());
    if (state === 'filling') continue;
    const perSecond = (lookedAt / (performance.now() - began)) * 1_000;
    const row: BenchRow = { name: `lists.segment-people-looked-at.${storage}`, value: perSecond, unit: '/s', note: `${people} of ${lookedAt} belong to it; longest transaction ${longest.toFixed(0)} ms; without the bus between the pieces` };
    return { segment, people, rows: [row] };
  }
}

/** Where the page before ended. */
async function cursorOf({ store, people, call }: Bench, filter: PeopleFilter, page: number): Promise<string | undefined> {
  if (page === 1) return undefined;
  const offset = (page - 1) * PAGE - 1;
  if (filter.segment !== undefined) {
    const last = await store.db.selectFrom('segment_members').select('person_id').where('workspace_id', '=', WORKSPACE).where('segment_id', '=', filter.segment).orderBy('person_id', 'desc').limit(1).offset(offset).executeTakeFirstOrThrow();
    return last.person_id;
  }
  const column = filter.email !== undefined ? 'email_key' : filter.userId !== undefined ? 'user_id' : 'id';
  const { id } = await store.db.selectFrom('people').select('id').where('workspace_id', '=', WORKSPACE).where('gone', '=', 0).orderBy(column, column === 'id' ? 'desc' : 'asc').limit(1).offset(offset).executeTakeFirstOrThrow();
  return people.cursorOf(await people.get(id, call()), filter);
}
