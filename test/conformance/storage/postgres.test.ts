import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sql } from 'kysely';
import { z } from 'zod';
import { postgres } from '../../../adapters/storage/postgres/driver.ts';
import { OutboxBacklog } from '../../../src/fabric/outbox-backlog.ts';
import { OutboxRelay } from '../../../src/fabric/outbox-relay.ts';
import { OutboxStore } from '../../../src/fabric/outbox.ts';
import { fabricMigrations, type FabricTables } from '../../../src/fabric/tables.ts';
import { job } from '../../../src/kernel/message.ts';
import { type Migration, type Storage, statement } from '../../../src/ports/storage.ts';
import { Arrivals, createBus, queueOf } from '../../support/buses.ts';
import { noMetrics, silentLog } from '../../support/context.ts';
import { rejectsWith } from '../../support/faults.ts';
import { PostgresServer } from '../../support/postgres.ts';
import { freePort } from '../../support/server-process.ts';
import { type Tables, underTest } from '../../support/storages.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';

const insert = statement<Tables, { id: string; n: number }>()((db, p) => db.insertInto('counters').values({ id: p('id'), n: p('n') }));
const add = statement<Tables, { id: string; n: number }>()((db, p) => db.updateTable('counters').set({ n: p('n') }).where('id', '=', p('id')));
const counter = statement<Tables, { id: string }>()((db, p) => db.selectFrom('counters').select('n').where('id', '=', p('id')));
const insertSlowly = statement<Tables, { id: string }>()((db, p) => db.insertInto('counters').values({ id: p('id'), n: sql<number>`(select 1 from pg_sleep(0.4))` }));
const whole = statement<Tables, { id: string }>()((db, p) => db.selectFrom('counters').selectAll().where('id', '=', p('id')));

/** What the server ends its greeting with, and how it takes its leave (https://www.postgresql.org/docs/15/protocol-message-formats.html). */
const READY = Buffer.from('Z\0\0\0\x05I', 'latin1');
const FAREWELL = Buffer.from('E\0\0\0\x29SFATAL\0C57P01\0Mthe server goes away\0\0', 'latin1');

const until = async (done: () => Promise<boolean>): Promise<void> => {
  for (const deadline = Date.now() + 10_000; !(await done()); ) {
    if (Date.now() > deadline) throw new Error('What was waited for did not come about in 10 s.');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

describe('postgres', () => {
  const server = new PostgresServer();
  const { open, place, create, migration } = underTest('postgres', server);
  before(() => server.start());
  after(() => server.remove());

  const pair = async (t: Parameters<typeof open>[0]): Promise<[Storage<Tables>, Storage<Tables>]> => {
    const where = place(t);
    const both: [Storage<Tables>, Storage<Tables>] = [create(t, where), create(t, where)];
    await Promise.all(both.map((storage) => storage.start()));
    await Promise.all(both.map((storage) => storage.migrate([migration])));
    return both;
  };

  test('a server that is not there, a database that is not, a user that may not: unavailable with a remedy, and nothing ran', async (t) => {
    for (const wrong of [{ port: await freePort() }, { host: 'no-such-host.invalid' }, { database: 'nowhere' }, { user: 'nobody' }]) {
      const fault = await rejectsWith('unavailable', create(t, place(t), wrong).start());
      assert.equal(fault.origin, 'unsent');
      assert.equal(typeof fault.details.remedy, 'string');
    }
  });

  test('two that start at once make the schema and run each migration once', async (t) => {
    const where = place(t);
    let runs = 0;
    const counting: Migration = { name: migration.name, up: (db) => (runs++, migration.up(db)) };
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        const storage = create(t, where);
        await storage.start();
        await storage.migrate([counting]);
      }),
    );
    assert.equal(runs, 1);
  });

  test('read-modify-write of several owners at once adds up', async (t) => {
    const both = await pair(t);
    await both[0].transaction((tx) => tx.run(insert, { id: 'sum', n: 0 }));
    let works = 0;
    await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        both[i % 2]!.transaction(async (tx) => {
          works++;
          const [row] = await tx.run(counter, { id: 'sum' });
          await tx.run(add, { id: 'sum', n: row!.n + 1 });
        }),
      ),
    );
    assert.deepEqual(await both[0].run(counter, { id: 'sum' }), [{ n: 200 }]);
    assert.equal(works, 200, 'no work is run a second time');
  });

  test('an owner whose transaction hangs keeps the other from writing until its deadline, not from reading', async (t) => {
    const [one, other] = await pair(t);
    const began = Promise.withResolvers<void>();
    const hanging = one.transaction(
      async (tx) => {
        await tx.run(insert, { id: 'hung', n: 1 });
        began.resolve();
        await new Promise(() => {});
      },
      { timeoutMs: 300 },
    );
    await began.promise;
    const written = other.transaction((tx) => tx.run(insert, { id: 'a', n: 1 }));
    assert.deepEqual(await other.run(counter, { id: 'hung' }), []);
    await rejectsWith('deadline', hanging);
    await written;
    assert.deepEqual(await other.run(counter, { id: 'hung' }), []);
  });

  test('a statement under way ends with its transaction\'s deadline', async (t) => {
    const storage = await open(t);
    const began = performance.now();
    await rejectsWith('deadline', storage.transaction((tx) => sql`select pg_sleep(30)`.execute(tx.db), { timeoutMs: 100 }), 'transaction_timeout');
    assert.ok(performance.now() - began < 5_000);
    await storage.transaction((tx) => tx.run(insert, { id: 'after', n: 1 }));
  });

  test('what was planned for an empty table is planned again as the table grows, and not for less', async (t) => {
    const storage = await open(t);
    const fill = (first: number, rows: number): Promise<unknown> =>
      storage.transaction((tx) => Promise.all(Array.from({ length: rows }, (_, i) => tx.run(insert, { id: `n${first + i}`, n: 1 }))));
    const counted = async (): Promise<number> => (await sql<{ rows: number }>`select reltuples::bigint as rows from pg_class where oid = 'counters'::regclass`.execute(storage.db)).rows[0]!.rows;
    assert.equal(await counted(), -1, 'the server has never counted the table');
    await fill(0, 100);
    for (let extra = 100; (await counted()) < 100; extra++) {
      assert.ok(extra < 1_000, 'the server is not told to count a table that has grown');
      await fill(extra, 1);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const [{ times }] = (await sql<{ times: number }>`select analyze_count as times from pg_stat_user_tables where relid = 'counters'::regclass`.execute(storage.db)).rows as [{ times: number }];
    assert.equal(times, 1, 'a table of twice the size is counted once');
  });

  test('a read that takes too long is a deadline', async (t) => {
    const storage = await open(t, { answerTimeoutMs: 100 });
    await rejectsWith('deadline', sql`select pg_sleep(30)`.execute(storage.db), 'statement_timeout');
  });

  test('a statement that failed is not made undone by catching its error', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(insert, { id: 'a', n: 1 }));
    const caught = storage.transaction(async (tx) => {
      await tx.run(insert, { id: 'b', n: 1 });
      await tx.run(insert, { id: 'a', n: 1 }).catch(() => {});
      await rejectsWith('conflict', tx.run(counter, { id: 'a' }), 'unique');
    });
    await rejectsWith('conflict', caught, 'unique');
    assert.deepEqual(await storage.run(counter, { id: 'b' }), []);
  });

  test('a last write that fails takes back its own transaction, and neighbours that were begun meanwhile go on, each run once', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(insert, { id: 'sum', n: 0 }));
    let works = 0;
    const outcomes = await Promise.allSettled(
      Array.from({ length: 300 }, (_, i) =>
        storage.transaction(async (tx) => {
          works++;
          // A turn that only writes is over before the server has heard of it.
          if (i % 5 === 4) return tx.run(insert, { id: `w${i}`, n: i }).then(() => i);
          const [row] = await tx.run(counter, { id: 'sum' });
          await tx.run(add, { id: 'sum', n: row!.n + 1 });
          if (i % 5 === 0) await tx.run(insert, { id: 'sum', n: i });
          if (i % 5 === 1) throw new Error('the work changes its mind');
          return row!.n;
        }),
      ),
    );
    assert.equal(works, 300);
    const failed = outcomes.map((one, i) => (one.status === 'rejected' ? i % 5 : -1)).filter((kind) => kind >= 0);
    assert.equal(failed.length, 120);
    assert.deepEqual([...new Set(failed)], [0, 1]);
    for (const [i, one] of outcomes.entries()) if (i % 5 === 0 && one.status === 'rejected') assert.equal(one.reason.reason, 'unique');
    assert.deepEqual(await storage.run(counter, { id: 'sum' }), [{ n: 120 }]);
    const seen = outcomes.flatMap((one, i) => (one.status === 'fulfilled' && i % 5 !== 4 ? [one.value] : []));
    assert.deepEqual(seen, Array.from({ length: 120 }, (_, i) => i), 'each saw what those before it had kept, and nothing else');
    assert.equal((await storage.db.selectFrom('counters').select('id').where('id', 'like', 'w%').execute()).length, 60);
  });

  test('a slow last write is not ended for the failure of the transaction behind it', async (t) => {
    const storage = await open(t);
    const slow = storage.transaction((tx) => tx.run(insertSlowly, { id: 'slow' }));
    const failing = storage.transaction(async (tx) => {
      await tx.run(insert, { id: 'failing', n: 1 });
      throw new Error('the work changes its mind');
    });
    await Promise.all([slow, assert.rejects(failing, /changes its mind/)]);
    assert.deepEqual(await storage.db.selectFrom('counters').select('id').execute(), [{ id: 'slow' }]);
  });

  test('a last write may take as long as its transaction, whatever the server may take to answer', async (t) => {
    const storage = await open(t, { answerTimeoutMs: 100 });
    await storage.transaction((tx) => tx.run(insertSlowly, { id: 'slow' }), { timeoutMs: 5_000 });
    assert.deepEqual(await storage.run(counter, { id: 'slow' }), [{ n: 1 }]);
  });

  test('a transaction is told as committed when the server ends the connection right behind its commit', async (t) => {
    // Time for the signal to come in the middle of the commit, whose answer then goes out together with the farewell.
    for (const setting of ['commit_delay = 100000', 'commit_siblings = 0']) server.query(`alter database postgres set ${setting}`);
    t.after(() => server.query('alter database postgres reset all'));
    const storage = await open(t);
    await storage.run(counter, { id: 'a' });
    const ended = sql.raw(`
      do $$ begin loop
        perform pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and query = 'COMMIT';
        exit when found;
        perform pg_stat_clear_snapshot(), pg_sleep(0.005);
      end loop; end $$`).execute(storage.db);
    await storage.transaction((tx) => tx.run(insert, { id: 'a', n: 1 }));
    await ended;
    assert.deepEqual(await storage.run(counter, { id: 'a' }), [{ n: 1 }]);
    await storage.transaction((tx) => tx.run(insert, { id: 'b', n: 1 }));
  });

  test('a transaction does not pay with its own time for the last write of a long one before it', async (t) => {
    const storage = await open(t);
    const slow = storage.transaction((tx) => tx.run(insertSlowly, { id: 'slow' }), { timeoutMs: 10_000 });
    const short = storage.transaction((tx) => tx.run(counter, { id: 'slow' }), { timeoutMs: 200 });
    assert.deepEqual(await Promise.all([slow, short]), [[], [{ n: 1 }]]);
  });

  test('the time that a long transaction is given is not given to those behind it', async (t) => {
    const storage = await open(t);
    const patience = async (timeoutMs: number) =>
      storage.transaction(async (tx) => (await sql<{ ms: string }>`select current_setting('idle_in_transaction_session_timeout') as ms`.execute(tx.db)).rows[0]!.ms, { timeoutMs });
    assert.deepEqual(await Promise.all([patience(1_000), patience(60_000), patience(1_000)]), ['7s', '61s', '7s']);
  });

  test('writes that the server does not answer hold no more than some megabytes, of however many transactions', async (t) => {
    const [one, other] = [await open(t), await open(t)];
    const { promise: locked, resolve: isLocked } = Promise.withResolvers<void>();
    const { promise: looked, resolve: hasLooked } = Promise.withResolvers<void>();
    const waiting = other.transaction(async (tx) => {
      await sql`select pg_advisory_xact_lock(4242)`.execute(tx.db);
      isLocked();
      await looked;
    });
    await locked;
    const insertBehind = statement<Tables, { id: string }>()((db, p) => db.insertInto('counters').values({ id: p('id'), n: sql<number>`(select 1 from pg_advisory_xact_lock(4242))` }));
    const note = statement<Tables, { id: string; body: string }>()((db, p) => db.insertInto('notes').values({ id: p('id'), body: p('body') }));
    let begun = 0;
    const writes = Array.from({ length: 40 }, (_, i) => one.transaction(async (tx) => {
      begun++;
      await (i === 0 ? tx.run(insertBehind, { id: 'first' }) : tx.run(note, { id: `n${i}`, body: 'x'.repeat(1_048_576) }));
    }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const begunUnanswered = begun;
    hasLooked();
    await Promise.all([waiting, ...writes]);
    assert.ok(begunUnanswered <= 6, `${begunUnanswered} transactions of 1 MB each were under way`);
    assert.equal(begun, 40);
  });

  test('a statement whose first use failed is prepared as often as it must be', async (t) => {
    const storage = await open(t);
    const late = statement<{ later: { id: string } }, { id: string }>()((db, p) => db.insertInto('later').values({ id: p('id') }).returning('id'));
    const write = (id: string) => storage.transaction((tx) => tx.run(late, { id }));
    await rejectsWith('internal', write('a'), 'statement');
    await storage.transaction((tx) => sql`create table later (id text primary key)`.execute(tx.db));
    await storage.transaction((tx) => sql`insert into later values ('a')`.execute(tx.db));
    // Prepared this time, and refused for its row.
    await rejectsWith('conflict', write('a'), 'unique');
    assert.deepEqual(await Promise.all([write('b'), write('c')]), [[{ id: 'b' }], [{ id: 'c' }]]);
  });

  test('a number that cannot be told exactly fails its statement, and its connection goes on', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.run(insert, { id: 'a', n: 1 }));
    const huge = sql`select 9007199254740993 as n from counters`;
    await storage.transaction(async (tx) => {
      await rejectsWith('internal', huge.execute(tx.db), 'unsafe_integer');
      await tx.run(add, { id: 'a', n: 2 });
    });
    assert.deepEqual(await storage.run(counter, { id: 'a' }), [{ n: 2 }]);
  });

  test('what nobody waits for still belongs to its transaction', async (t) => {
    const storage = await open(t);
    await storage.transaction(async (tx) => void tx.run(insert, { id: 'a', n: 1 }));
    assert.deepEqual(await storage.run(counter, { id: 'a' }), [{ n: 1 }]);
    const failing = storage.transaction(async (tx) => void tx.run(insert, { id: 'a', n: 1 }).catch(() => {}));
    await rejectsWith('conflict', failing, 'unique');
  });

  test('more reads than connections wait, then are refused; more than may wait, at once', async (t) => {
    const storage = await open(t, { readers: 1, connectTimeoutMs: 1_000, maxWaiting: 2 });
    const slow = sql`select pg_sleep(2)`.execute(storage.db);
    const waiting = [1, 2].map(() => rejectsWith('exhausted', storage.run(counter, { id: 'a' }), 'connections'));
    let isWaiting = true;
    const waited = Promise.all(waiting).then(() => (isWaiting = false));
    await rejectsWith('exhausted', storage.run(counter, { id: 'a' }), 'connections');
    assert.equal(isWaiting, true);
    await waited;
    await slow;
    assert.deepEqual(await storage.run(counter, { id: 'a' }), []);
  });

  test('a long read whose connection the server ends while nothing is asked of it is unavailable, and the process goes on', async (t) => {
    const storage = await open(t);
    await storage.transaction((tx) => tx.db.insertInto('counters').values(Array.from({ length: 9 }, (_, n) => ({ id: `${n}`, n }))).execute());
    const idle = "FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE 'FETCH%'";
    const batches = storage.scan(storage.db.selectFrom('counters').selectAll(), { batchRows: 3 });
    let read = 0;
    const fault = await rejectsWith('unavailable', (async () => {
      for await (const batch of batches) {
        read += batch.length;
        if (read > 3) continue;
        await until(async () => server.query(`SELECT count(*) ${idle}`) === '1');
        server.query(`SELECT pg_terminate_backend(pid, 5000) ${idle}`);
      }
    })());
    assert.equal(typeof fault.details.remedy, 'string');
    assert.ok(read < 9);
    assert.equal((await storage.db.selectFrom('counters').selectAll().execute()).length, 9);
  });

  test('a server that says farewell in the breath in which it takes a connection: the read is unavailable, and the process goes on', async (t) => {
    const proxy = await TcpProxy.start(server.port);
    t.after(() => proxy.stop());
    const storage = create(t, place(t), { port: proxy.port });
    await storage.start();
    proxy.meddle = (chunk, direction) => (direction === 'down' && chunk.subarray(-READY.length).equals(READY) ? [Buffer.concat([chunk, FAREWELL])] : [chunk]);
    await rejectsWith('unavailable', sql`select 1`.execute(storage.db));
    proxy.meddle = undefined;
    await sql`select 1`.execute(storage.db);
  });

  test('a statement that was prepared before another owner changed the table goes on', async (t) => {
    const [one, other] = await pair(t);
    await one.transaction((tx) => tx.run(insert, { id: 'a', n: 1 }));
    const ask = () => Promise.all(Array.from({ length: 8 }, () => other.run(whole, { id: 'a' })));
    await ask();
    await other.transaction((tx) => tx.run(whole, { id: 'a' }));
    await one.migrate([migration, { name: '0002-more', up: async (db) => void (await db.schema.alterTable('counters').addColumn('more', 'text').execute()) }]);
    for (const rows of await ask()) assert.deepEqual(rows, [{ id: 'a', n: 1, more: null }]);
    await rejectsWith('unavailable', other.transaction((tx) => tx.run(whole, { id: 'a' })), 'schema_changed');
    assert.deepEqual(await other.transaction((tx) => tx.run(whole, { id: 'a' })), [{ id: 'a', n: 1, more: null }]);
  });

  test('schemas written for SQLite keep what they mean', async (t) => {
    const storage: Storage = await open(t);
    const old: Migration = {
      name: '0002-old',
      up: (db) =>
        db.schema
          .createTable('old')
          .addColumn('seq', 'integer', (c) => c.primaryKey().autoIncrement())
          .addColumn('at', 'integer', (c) => c.notNull())
          .addColumn('name', 'text', (c) => c.notNull())
          .addColumn('bytes', 'blob')
          .modifyEnd(sql`without rowid`)
          .execute(),
    };
    await storage.migrate([migration, old]);
    const names = ['a', 'B', 'ä', 'Z', '_'];
    await storage.transaction((tx) => tx.db.insertInto('old').values(names.map((name) => ({ at: Date.UTC(2026, 10, 21), name }))).execute());
    const rows = await storage.db.selectFrom('old').select(['seq', 'name', 'at']).orderBy('name').execute();
    assert.deepEqual(rows.map((row) => row.name), ['B', 'Z', '_', 'a', 'ä']);
    assert.deepEqual(rows.map((row) => row.seq).sort(), [1, 2, 3, 4, 5]);
    const { rows: columns } = await sql`select data_type, collation_name from information_schema.columns where table_schema = current_schema() and table_name = 'old' order by ordinal_position`.execute(storage.db);
    assert.deepEqual(columns, [{ data_type: 'bigint', collation_name: null }, { data_type: 'bigint', collation_name: null }, { data_type: 'text', collation_name: 'C' }, { data_type: 'bytea', collation_name: null }]);
  });

  test('a server that is killed under load: each transaction is there or was refused; all goes on when it is back', async (t) => {
    const storage = await open(t, { connectTimeoutMs: 500 });
    const outcomes = new Map<string, 'written' | 'unsent' | 'lost'>();
    let killed = false;
    const writing = (async () => {
      for (let i = 0; outcomes.size < 400 || !killed; i++) {
        const batch = Array.from({ length: 20 }, (_, j) => `k${i}.${j}`);
        await Promise.all(
          batch.map((id) =>
            storage.transaction((tx) => tx.run(insert, { id, n: 1 })).then(
              () => outcomes.set(id, 'written'),
              (fault) => outcomes.set(id, (assert.equal(fault.code, 'unavailable'), fault.origin)),
            ),
          ),
        );
      }
    })();
    await until(async () => outcomes.size > 100);
    await server.kill();
    killed = true;
    await writing;
    await rejectsWith('unavailable', storage.run(counter, { id: 'a' }));
    await server.start();
    await until(() => storage.run(counter, { id: 'a' }).then(() => true, () => false));
    await storage.transaction((tx) => tx.run(insert, { id: 'again', n: 1 }));
    const there = new Set((await storage.db.selectFrom('counters').select('id').execute()).map((row) => row.id));
    for (const [id, outcome] of outcomes) if (outcome !== 'lost') assert.equal(there.has(id), outcome === 'written', `${id} ${outcome}`);
  });

  test('what one process has committed and not carried to the bus is carried by another', async (t) => {
    const context = place(t);
    const [dead, alive] = [create(t, context) as Storage, create(t, context) as Storage];
    await Promise.all([dead.start(), alive.start()]);
    await alive.migrate(fabricMigrations);
    const note = job('reader.note', z.object({ text: z.string() }), { orderBy: () => 'k' });
    const bus = createBus('embedded', { ...context, remove: () => {} });
    const relay = new OutboxRelay({ module: 'writer', storage: alive as Storage<FabricTables>, bus, backlog: new OutboxBacklog('writer', Infinity), clock: context.clock, log: silentLog, metrics: noMetrics });
    t.after(async () => {
      for (const part of [relay, bus]) await part.stop(1_000);
    });
    await bus.start();
    await bus.declare(queueOf(note.name));
    await relay.start();
    const arrivals = new Arrivals();
    await bus.consume(note.name, { concurrency: 1 }, arrivals.handler);
    const store = new OutboxStore(dead, { module: 'writer', publishes: new Set([note.name]), strict: true, clock: context.clock }, () => {});
    await store.transaction((tx) => tx.publish(note, { text: 'left behind' }, { workspace: 'w1' }));
    await arrivals.count(1);
  });

  test('what waits in an outbox is counted with what other processes have put there', async (t) => {
    const context = place(t);
    const [mine, theirs] = [create(t, context) as Storage<FabricTables>, create(t, context) as Storage];
    await Promise.all([mine.start(), theirs.start()]);
    await mine.migrate(fabricMigrations);
    const note = job('reader.note', z.object({ text: z.string() }));
    const store = new OutboxStore(theirs, { module: 'writer', publishes: new Set([note.name]), strict: true, clock: context.clock }, () => {});
    await store.transaction(async (tx) => {
      for (let n = 0; n < 3; n++) await tx.publish(note, { text: 'ü'.repeat(500) }, { workspace: 'w1' });
    });
    const backlog = new OutboxBacklog('writer', 3_000);
    await backlog.measure(mine);
    assert.ok(backlog.messages === 3 && backlog.bytes > 3_000 && backlog.bytes < 5_000, `${backlog.messages}, ${backlog.bytes}`);
    assert.equal(backlog.isFull, true);
  });

  test('settings: no password is looked for elsewhere, and none is shown', () => {
    const parsed = postgres.settings.parse({});
    assert.equal((parsed as { password?: string }).password, undefined);
    assert.throws(() => postgres.settings.parse({ schema: 'a"; drop' }));
  });
});
