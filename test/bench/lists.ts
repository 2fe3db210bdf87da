import { sql } from 'kysely';
import { FakeClock } from '../support/fake-clock.ts';
import { TEST_POSTGRES } from '../support/module-storage.ts';
import { openPeople, WORKSPACE } from '../support/portal-people.ts';
import { PostgresServer } from '../support/postgres.ts';
import type { BenchRow } from './report.ts';

const PEOPLE = 1_000_000;
const AT_ONCE = 50_000;
const PAGE = 50;
const LATE_PAGE = 1_000;
const LOOKS = 31;

/** Beginnings that nearly everybody has: the most that a filter can leave to do. */
const FILTERS = { 'without a filter': {}, 'by e-mail address': { email: 'person' }, 'by userId': { userId: 'user' } } as const;
type Bench = Awaited<ReturnType<typeof openPeople>>;

/** A page of the list of people among a million, the first and a late one, on both storages: the slowest of its filters. */
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

async function measure(storage: string, filled: () => unknown = () => {}): Promise<BenchRow[]> {
  const bench = await openPeople(new FakeClock());
  try {
    for (let from = 0; from < PEOPLE; from += AT_ONCE) await fill(bench, from);
    filled();
    return [await slowest(bench, storage, 1), await slowest(bench, storage, LATE_PAGE)];
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
      '{"firstName":"Maria","plan":"gold","policies":[{"number":"P-1","premium":480}]}', '{}', null, 'unknown', 'api', 0, case when i % 10 = 7 then 1 else 0 end, null, i, i
    from g where true`;
  await store.transaction((tx) => insert.execute(tx.db), { timeoutMs: 60_000 });
}

async function slowest(bench: Bench, storage: string, page: number): Promise<BenchRow> {
  const found: { name: string; ms: number }[] = [];
  for (const [name, filter] of Object.entries(FILTERS)) {
    const before = await cursorOf(bench, filter, page);
    const times: number[] = [];
    for (let look = 0; look < LOOKS; look++) {
      const began = performance.now();
      const people = await bench.people.list({ limit: PAGE, before, ...filter }, bench.call());
      times.push(performance.now() - began);
      if (people.length !== PAGE) throw new Error(`${people.length} people on page ${page} ${name}`);
    }
    found.push({ name, ms: times.sort((a, b) => a - b)[LOOKS >> 1]! });
  }
  const { name, ms } = found.reduce((worst, one) => (one.ms > worst.ms ? one : worst));
  return { name: `lists.people-page-${page}-of-1M.${storage}`, value: ms, unit: 'ms', aim: 50, better: 'lower', note: `${PAGE} people, ${name}; whole answer of the module` };
}

/** Where the page before ended. */
async function cursorOf({ store, people, call }: Bench, filter: { readonly email?: string; readonly userId?: string }, page: number): Promise<string | undefined> {
  if (page === 1) return undefined;
  const column = filter.email !== undefined ? 'email_key' : filter.userId !== undefined ? 'user_id' : 'id';
  const { id } = await store.db.selectFrom('people').select('id').where('workspace_id', '=', WORKSPACE).where('gone', '=', 0).orderBy(column, column === 'id' ? 'desc' : 'asc').limit(1).offset((page - 1) * PAGE - 1).executeTakeFirstOrThrow();
  return people.cursorOf(await people.get(id, call()), filter);
}
