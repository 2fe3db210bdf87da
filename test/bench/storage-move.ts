import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { portalModule } from '../../modules/portal/module.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import { compareContents } from '../../src/fabric/storage-compare.ts';
import { copyContents, dropIndexes } from '../../src/fabric/storage-copy.ts';
import type { Storage } from '../../src/ports/storage.ts';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import { testContext } from '../support/context.ts';
import { PostgresServer } from '../support/postgres.ts';
import type { BenchRow } from './report.ts';

/** What the figure is meant for is ten times as much: MULTILITH_BENCH_PEOPLE=1000000. */
const PEOPLE = Number(process.env.MULTILITH_BENCH_PEOPLE ?? 100_000);
const EVENTS_EACH = 5;
/** A transaction has a minute. */
const ROWS_AT_ONCE = 100_000;
const MIGRATIONS = [...fabricMigrations, ...portalModule.migrations];

/** Portal's data from SQLite to PostgreSQL, beside the server's own COPY of the same rows into tables with the same indexes. */
export async function benchStorageMove(): Promise<BenchRow[]> {
  const place = testContext();
  const server = await new PostgresServer().start();
  const { sqlite, postgres } = storageDrivers;
  const from: Storage = sqlite.create(sqlite.settings.parse({}), { ...place, name: 'portal' });
  const settings = postgres.settings.parse(server.settings('moved'));
  const to: Storage = postgres.create(settings, { ...place, name: 'portal' });
  const schema = `"${settings.schema}"`;
  try {
    for (const storage of [from, to]) {
      await storage.start();
      await storage.migrate(MIGRATIONS);
    }
    await fill(from);
    const began = performance.now();
    const indexes = await to.contents.indexes();
    await dropIndexes(to, indexes);
    await copyContents(from, to, () => {});
    const added = performance.now();
    for (const index of indexes) await to.contents.makeIndex(index);
    const copied = performance.now();
    const tables = await compareContents(from, to, () => {});
    const compared = performance.now();
    if (!tables.every(({ isSame }) => isSame)) throw new Error('The copy differs.');
    const rows = tables.reduce((sum, table) => sum + table.from.rows, 0);
    const limit = rows / bareCopy(server, schema);
    const perSecond = (ms: number) => Math.round((rows / ms) * 1_000).toLocaleString('en-US');
    return [{ name: `storage-move.${rows.toLocaleString('en-US')} rows from SQLite to PostgreSQL, copied and compared`, value: (rows / (compared - began)) * 1_000, unit: 'rows/s', aim: 30_000, limit, note: `copied ${perSecond(copied - began)}/s, indexes made in ${((copied - added) / 1_000).toFixed(1)} s of that, compared ${perSecond(compared - copied)}/s; limit: COPY within the server, unchecked` }];
  } finally {
    await Promise.all([from.stop(5_000), to.stop(5_000)]);
    await server.remove();
    place.remove();
  }
}

async function fill(storage: Storage): Promise<void> {
  const indexes = await storage.contents.indexes();
  await dropIndexes(storage, indexes);
  const uuid = (of: string) => sql.raw(`printf('%08x-%04x-7%03x-8000-%012x', ${of} >> 16, ${of} & 65535, ${of} % 4096, ${of} * 7)`);
  for (const [from, to] of ranges(PEOPLE)) await storage.transaction((tx) =>
    sql`INSERT INTO people (id, workspace_id, version, user_id, email, email_key, attributes_json, stamps_json, time_zone, consent_email, consent_by, consent_at, gone, created_at, updated_at)
      WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${to})
      SELECT ${uuid('i')}, 'w' || i % 20, i, 'user-' || i, 'Ana.' || i || '@example.com', 'ana.' || i || '@example.com', json_object('firstName', 'Ana', 'city', 'Köln', 'policy', 'HO-' || i), '{"firstName":1763712000000}', 'Europe/Berlin', 'subscribed', 'import', 1763712000000, 0, 1763712000000 + i, 1763712000000 + i FROM n`.execute(tx.db), { timeoutMs: 60_000 });
  for (const [from, to] of ranges(PEOPLE * EVENTS_EACH)) await storage.transaction((tx) =>
    sql`INSERT INTO events (id, workspace_id, person_id, type, name, properties_json, context_json, time, received_at)
      WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${to})
      SELECT ${uuid('i')}, 'w' || i % 20, ${uuid(`(i % ${PEOPLE} + 1)`)}, 'track', 'Policy Quoted', json_object('premium', i % 900, 'product', 'Auto', 'note', 'An estimate of what a year costs, with "quotes" in it'), NULL, 1763712000000 + i, 1763712000000 + i FROM n`.execute(tx.db), { timeoutMs: 60_000 });
  for (const index of indexes) await storage.contents.makeIndex(index);
}

function ranges(rows: number): [from: number, to: number][] {
  return Array.from({ length: Math.ceil(rows / ROWS_AT_ONCE) }, (_, part) => [part * ROWS_AT_ONCE + 1, Math.min((part + 1) * ROWS_AT_ONCE, rows)]);
}

/** Seconds. */
function bareCopy(server: PostgresServer, schema: string): number {
  let seconds = 0;
  for (const table of ['people', 'events']) {
    const file = join(tmpdir(), `multilith-bench-${process.pid}-${table}`);
    server.psql(`COPY ${schema}.${table} TO '${file}'; CREATE TABLE ${schema}.bare_${table} (LIKE ${schema}.${table} INCLUDING ALL)`);
    const began = performance.now();
    server.psql(`COPY ${schema}.bare_${table} FROM '${file}'`);
    seconds += (performance.now() - began) / 1_000;
    rmSync(file, { force: true });
  }
  return seconds;
}
