import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { after, before, describe, it, type TestContext as Test } from 'node:test';
import { sql } from 'kysely';
import { readConfig } from '../../src/app/config/config.ts';
import { checkStorages } from '../../src/app/host/checks.ts';
import { parts } from '../../src/app/parts.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import { statement, type Storage } from '../../src/ports/storage.ts';
import { postgres } from '../../adapters/storage/postgres/driver.ts';
import { ReplicaConversation } from '../../adapters/storage/postgres/replica-conversation.ts';
import { noMetrics, silentLog, testContext } from '../support/context.ts';
import { rejectsWith } from '../support/faults.ts';
import { bearer, fromOurPage, startPortalWeb } from '../support/portal-web.ts';
import { PostgresServer, schemaFor } from '../support/postgres.ts';
import { type Tables, underTest } from '../support/storages.ts';

const TIMEOUT_MS = 400;
const MAX_LAG_MS = 60_000;
const insert = statement<Tables, { id: string; n: number }>()((db, p) => db.insertInto('counters').values({ id: p('id'), n: p('n') }));
const byId = statement<Tables, { id: string }>()((db, p) => db.selectFrom('counters').select('n').where('id', '=', p('id')));

const until = async (what: string, done: () => boolean | Promise<boolean>): Promise<void> => {
  for (const deadline = Date.now() + 20_000; !(await done()); ) {
    if (Date.now() > deadline) throw new Error(`${what}: not within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

describe('a read replica', () => {
  const primary = new PostgresServer();
  const replica = new PostgresServer(primary);
  const { migration } = underTest('postgres', primary);
  before(async () => {
    await primary.start();
    await replica.start();
  });
  after(async () => {
    await replica.remove();
    await primary.remove();
  });

  /** Replaying stands still until it is resumed. */
  const pauseReplay = (t: Test): void => {
    replica.query('SELECT pg_wal_replay_pause()');
    t.after(resumeReplay);
  };
  const resumeReplay = (): void => void replica.query('SELECT pg_wal_replay_resume()');
  /** Until it has replayed what is committed by now. */
  const catchUp = (): void => {
    const all = primary.query('SELECT pg_current_wal_flush_lsn()');
    replica.query(`DO $$ BEGIN WHILE pg_last_wal_replay_lsn() < '${all}' LOOP PERFORM pg_sleep(0.005); END LOOP; END $$`);
  };

  /** What `doctor` finds of it. */
  const found = async (): Promise<[string, string][]> => {
    const section = { ...primary.section, replica: { host: '127.0.0.1', port: replica.port } };
    const { config } = readConfig({ env: {}, cwd: tmpdir(), sets: [`storage.portal=${JSON.stringify(section)}`] }, parts);
    return (await checkStorages(config!, ['portal'], parts)).map(({ state, detail }) => [state, detail]);
  };

  /** Tells who answered lists, and what was logged as a warning. */
  const watched = (t: Test) => {
    const answered = { replica: 0, primary: 0 };
    const warnings: string[] = [];
    const metrics = { ...noMetrics, counter: (name: string) => ({ add: (_?: number, labels?: Readonly<Record<string, string>>) => void (name === 'storage_list_reads_total' && answered[labels!.from as 'replica' | 'primary']++) }) };
    const log: Log = { ...silentLog, warn: (fields, message) => void warnings.push(`${message} ${(fields as { problem?: string }).problem ?? ''}`), child: () => log };
    const context = testContext({ log, metrics });
    t.after(() => context.remove());
    return { context, answered, warnings };
  };

  /** A storage with the replica, which is read from already. */
  const open = async (t: Test, settings: object = {}, schema = 'lists') => {
    const { context, answered, warnings } = watched(t);
    const storage: Storage<Tables> = postgres.create(
      postgres.settings.parse({ ...primary.settings(schema), slowStatementMs: 0, replica: { host: '127.0.0.1', port: replica.port, maxLagMs: MAX_LAG_MS, timeoutMs: TIMEOUT_MS, restMs: 100, ...settings } }),
      { ...context, name: 'portal' },
    );
    t.after(() => storage.stop(1_000));
    await storage.start();
    await storage.migrate([migration]);
    catchUp();
    const add = (id: string, n: number) =>
      storage.transaction(async (tx) => {
        await tx.run(insert, { id, n });
        return tx.position;
      });
    const listed = async (id: string, seen?: string | null): Promise<number | undefined> => (await storage.lists(seen).run(byId, { id }))[0]?.n;
    /** Resolves when the replica is reached and near enough; counts anew from then on. */
    const readFrom = async () => {
      answered.replica = 0;
      await until('the replica is read from', async () => (await listed('nobody')) === undefined && answered.replica > 0);
      Object.assign(answered, { replica: 0, primary: 0 });
    };
    await readFrom();
    return { storage, answered, warnings, add, listed, readFrom };
  };

  it('answers lists, which may be older than what is committed, but never than what their reader has written', async (t) => {
    const { storage, answered, add, listed } = await open(t);
    const first = await add('own-1', 1);
    catchUp();
    pauseReplay(t);
    const second = await add('own-2', 2);
    assert.equal(await listed('own-1', first), 1);
    assert.equal(await listed('own-2'), undefined);
    assert.deepEqual(answered, { replica: 2, primary: 0 });
    assert.equal(await listed('own-2', second), 2);
    assert.equal(answered.primary, 1);
    assert.equal((await storage.run(byId, { id: 'own-2' }))[0]?.n, 2);
    resumeReplay();
    for (let n = 3; n < 23; n++) assert.equal(await listed(`own-${n}`, await add(`own-${n}`, n)), n);
    assert.ok(answered.replica > 2, 'none of them was waited for');
    assert.equal(await listed('own-1', '4711/999999999999'), 1, 'a position of another server');
    assert.deepEqual([await storage.lists().db.selectFrom('counters').select('n').where('id', '=', 'own-22').execute()], [[{ n: 22 }]]);
  });

  it('is read from in one go: what has turned to the primary once does not go back in time', async (t) => {
    const { add, storage } = await open(t);
    pauseReplay(t);
    const lists = storage.lists(await add('forth', 1));
    assert.equal((await lists.run(byId, { id: 'forth' })).length, 1);
    resumeReplay();
    catchUp();
    pauseReplay(t);
    await add('back', 1);
    assert.equal((await lists.run(byId, { id: 'back' })).length, 1);
  });

  it('that must not keep the rows which a long read sees ends it; the next one is made at the primary', async (t) => {
    const { storage } = await open(t);
    const rows = 2_000;
    await storage.transaction((tx) => tx.db.insertInto('notes').values(Array.from({ length: rows }, (_, n) => ({ id: `${n}`, body: 'x', n, r: null, bytes: null }))).execute());
    catchUp();
    const removeAndVacuum = () => {
      primary.query(`DELETE FROM ${schemaFor('lists')}.notes WHERE n > 10`);
      primary.query(`VACUUM ${schemaFor('lists')}.notes`);
    };
    const scansAt = (server: PostgresServer) => server.query("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'FETCH%' AND state = 'idle in transaction'");
    const count = async (batches: AsyncIterable<unknown[]>, at: PostgresServer) => {
      let read = 0;
      for await (const batch of batches) {
        if (read === 0) await until('the next batch is there', () => scansAt(at) === '1');
        if (read === 0) removeAndVacuum();
        read += batch.length;
        catchUp();
      }
      return read;
    };
    const all = () => storage.lists().scan(storage.db.selectFrom('notes').select('id'), { batchRows: 10 });
    const fault = await rejectsWith('unavailable', count(all(), replica));
    assert.equal(fault.reason, 'replica');
    assert.equal(await count(all(), primary), 11);
  });

  it('that takes too long over a list leaves it to the primary, and goes on with the others', async (t) => {
    const { storage, add, listed, answered, warnings } = await open(t, { timeoutMs: 700 });
    await add('slow', 1);
    catchUp();
    const slow = sql<{ slept: number }>`SELECT count(pg_sleep(0.6)) AS slept`.execute(storage.lists().db);
    assert.equal(await listed('slow'), 1);
    assert.deepEqual((await slow).rows, [{ slept: 1 }]);
    assert.deepEqual(answered, { replica: 1, primary: 1 });
    assert.deepEqual(warnings, []);
  });

  it('that is further behind than it may be is not read from until it has caught up', async (t) => {
    const { storage, add, listed, answered, warnings, readFrom } = await open(t, { maxLagMs: 200 });
    pauseReplay(t);
    await add('late', 1);
    await until('it is told of', () => storage.problems.length === 1);
    assert.match(storage.problems[0]!, /^portal: .*more than 0\.2 s behind/);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    answered.replica = 0;
    assert.equal(await listed('late'), 1);
    assert.equal(answered.replica, 0);
    resumeReplay();
    await readFrom();
    assert.deepEqual(storage.problems, []);
    assert.equal(await listed('late'), 1);
  });

  it('that freezes costs those who ask one time-out, and nobody after them; it is read from again when it thaws', async (t) => {
    const { storage, add, listed, readFrom } = await open(t);
    await add('cold', 1);
    catchUp();
    replica.freeze();
    t.after(() => replica.thaw());
    const began = performance.now();
    for (let n = 0; n < 5; n++) assert.equal(await listed('cold'), 1);
    const tookMs = performance.now() - began;
    assert.ok(tookMs < 2 * TIMEOUT_MS, `${tookMs} ms`);
    assert.match(storage.problems[0]!, /does not answer/);
    replica.thaw();
    await readFrom();
    assert.deepEqual(storage.problems, []);
    assert.equal(await listed('cold'), 1);
  });

  it('that is killed is no fault to anybody, and is read from again when it is back', async (t) => {
    const { storage, add, listed, readFrom, warnings } = await open(t);
    await add('killed', 1);
    catchUp();
    assert.deepEqual(await found(), [['ok', 'postgres: answers'], ['ok', 'postgres, replica: follows the primary, and has all of it']]);
    await replica.kill();
    assert.deepEqual(await found(), [['ok', 'postgres: answers'], ['warn', 'postgres, replica: The database could not be reached.']]);
    assert.deepEqual(await Promise.all(Array.from({ length: 10 }, () => listed('killed'))), Array(10).fill(1));
    assert.equal(warnings.length, 1, warnings.join('\n'));
    await replica.start();
    await readFrom();
    assert.deepEqual(storage.problems, []);
    assert.equal(await listed('killed'), 1);
  });

  it('a storage starts, writes, lists and stops while its replica is frozen', async (t) => {
    replica.freeze();
    t.after(() => replica.thaw());
    const storage: Storage<Tables> = postgres.create(postgres.settings.parse({ ...primary.settings('lists'), replica: { host: '127.0.0.1', port: replica.port, timeoutMs: TIMEOUT_MS } }), { ...watched(t).context, name: 'portal' });
    await storage.start();
    const seen = await storage.transaction(async (tx) => tx.position);
    assert.equal((await storage.lists(seen).run(byId, { id: 'killed' })).length, 1);
    const began = performance.now();
    await storage.stop(5_000);
    assert.ok(performance.now() - began < 1_000);
  });

  it('two processes of the portal show each session and each key its own changes, and leave the rest to the replica', async (t) => {
    t.after(() => replica.thaw());
    const { context, answered } = watched(t);
    const settings = { replica: { host: '127.0.0.1', port: replica.port, maxLagMs: MAX_LAG_MS, timeoutMs: TIMEOUT_MS }, durability: 'process-crash' };
    const openStorage = (name: string) => postgres.create(postgres.settings.parse({ ...primary.settings(`web-${name}`), ...settings }), { ...context, name });
    const web = await startPortalWeb({ openStorage });
    t.after(() => web.close());
    const other = await startPortalWeb({ openStorage });
    t.after(() => other.close());
    const namesFor = async (headers: Record<string, string>, path: string): Promise<string[]> => (await other.ask(path, { headers })).json.items.map((item: { userId?: string; action?: string; outcome: string }) => item.userId ?? `${item.action} ${item.outcome}`);
    const { cookie } = await web.setUp();
    const [writer, reader] = [await web.key(cookie), await web.key(cookie)];
    catchUp();
    await until('the other one reads from the replica', async () => (await namesFor(bearer(reader), '/api/v1/people')).length === 0 && answered.replica > 0);
    pauseReplay(t);

    const made = await web.ask('/api/v1/people', { method: 'POST', headers: bearer(writer), body: { userId: 'u1' } });
    assert.equal(made.status, 201);
    assert.deepEqual(await namesFor(bearer(writer), '/api/v1/people'), ['u1']);
    assert.deepEqual(await namesFor(bearer(reader), '/api/v1/people'), []);
    assert.deepEqual(await namesFor(bearer(writer), '/api/v1/audit?action=createPerson'), ['createPerson done']);
    assert.deepEqual((await other.ask(`/api/v1/people/${made.json.personId}/events`, { headers: bearer(reader) })).json.items, []);

    await web.ask('/api/v1/people', { method: 'POST', headers: fromOurPage(cookie), body: { userId: 'u2' } });
    assert.deepEqual(await namesFor({ cookie }, '/api/v1/people'), ['u2', 'u1']);
    assert.match((await other.ask('/people', { headers: { cookie } })).text, /u2/);
    assert.deepEqual(await namesFor(bearer(reader), '/api/v1/people'), []);

    const { json } = await web.ask('/api/v1/exports', { method: 'POST', headers: bearer(writer), body: { what: 'people', format: 'ndjson' } });
    const path = `/api/v1/exports/${json.exportId}`;
    await until('the export is written', async () => (await web.ask(path, { headers: bearer(writer) })).json.state === 'done');
    assert.equal((await web.ask(path, { headers: bearer(writer) })).json.rows, 2);

    replica.freeze();
    assert.deepEqual(await namesFor(bearer(reader), '/api/v1/people'), ['u2', 'u1']);
    assert.match(other.composition.problems.join(), /portal: the read replica of its storage does not answer/);
    replica.thaw();
  });

  it('that is a copy of another server is none', async () => {
    const { port, database, user } = replica.settings('') as { port: number; database: string; user: string };
    const config = { host: '127.0.0.1', port, database, user };
    const conversation = new ReplicaConversation({ lists: config, scans: config, readers: 1, mostScans: 1, primary: () => ({ system: '4711', timeline: 9, lsn: 0n }) });
    await assert.rejects(conversation.greeted, /follows another server.*`replica` of the storage/);
    conversation.close();
  });

  it('that was promoted is refused at once, with what to do, and so is one that follows it; nobody is shown what was written there', async (t) => {
    const { listed, warnings, answered, storage } = await open(t);
    replica.query('SELECT pg_promote()');
    replica.query(`INSERT INTO ${schemaFor('lists')}.counters VALUES ('elsewhere', 1)`);
    answered.replica = 0;
    assert.equal(await listed('elsewhere'), undefined);
    assert.equal(answered.replica, 0);
    assert.match(storage.problems[0]!, /none of its server/);
    assert.deepEqual(await found(), [['ok', 'postgres: answers'], ['warn', 'postgres, replica: is none of this server']]);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.match(warnings[0]!, /follows no other server.*`replica` of the storage/);

    const astray = new PostgresServer(replica);
    t.after(() => astray.remove());
    await astray.start();
    const warned = watched(t);
    const other: Storage<Tables> = postgres.create(postgres.settings.parse({ ...primary.settings('lists'), replica: { host: '127.0.0.1', port: astray.port } }), { ...warned.context, name: 'portal' });
    t.after(() => other.stop(1_000));
    await other.start();
    assert.equal((await other.lists().run(byId, { id: 'elsewhere' })).length, 0);
    assert.match(warned.warnings.join(), /follows another server/);
  });
});
