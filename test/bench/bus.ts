import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import type { Bus, Outgoing, QueueSettings } from '../../src/ports/bus.ts';
import { type Storage, statement } from '../../src/ports/storage.ts';
import { DEFAULT_BACKOFF } from '../../src/kernel/message.ts';
import { newId } from '../../src/kernel/ids.ts';
import { type TestContext, testContext } from '../support/context.ts';

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the bare table reaches in the same run. */
  readonly limit?: number;
  readonly note?: string;
}

const IN_FLIGHT = 100;
const MESSAGES = 100_000;
const PAYLOAD = JSON.stringify({ filling: 'x'.repeat(1_000) });
const TRACE = { traceId: '0123456789abcdef0123456789abcdef', spanId: '0123456789abcdef' };

const insertId = statement<{ inbox: { id: string } }, { id: string }>()((db, p) => db.insertInto('inbox').values({ id: p('id') }));

/** The embedded bus against the bare table that it stands on, in the same process on the same disk. */
export async function benchBus(): Promise<Figure[]> {
  const context = testContext();
  try {
    const bare = await bareTable(context.dataDir);
    const bus = startedBus(context);
    const running = await bus;
    try {
      const published = await publishing(running);
      const consumed = await consuming(running, context);
      const delay = await idleDelay(running);
      return [
        { name: 'bus: durable publish of 1 KB, 100 in flight', value: published, unit: '/s', limit: bare.publish },
        { name: 'bus: consume with one inbox write and ack, concurrency 100', value: consumed, unit: '/s', limit: bare.consume, note: 'the bare table writes no inbox' },
        { name: 'bus: publish to handler when idle, p50', value: delay.p50, unit: 'ms', note: `p99 ${delay.p99.toFixed(2)} ms` },
      ];
    } finally {
      await running.stop(5_000);
    }
  } finally {
    context.remove();
  }
}

async function startedBus(context: TestContext): Promise<Bus> {
  const bus = busDrivers.embedded.create(busDrivers.embedded.settings.parse({}), {
    ...context,
    openStorage: (name) => storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...context, name }),
  });
  await bus.start();
  return bus;
}

function queue(name: string): QueueSettings {
  return { name, topics: [], ordered: false, attempts: 12, backoff: DEFAULT_BACKOFF, delayMs: 0, personal: [] };
}

function message(to: string): Outgoing {
  return { id: newId(), name: 'bench.message', to: { queue: to }, workspace: 'bench', key: null, lane: 'normal', time: Date.now(), trace: TRACE, payload: PAYLOAD };
}

async function publishing(bus: Bus): Promise<number> {
  await bus.declare(queue('bench'));
  let left = MESSAGES;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (left-- > 0) await bus.publish([message('bench')]);
    }),
  );
  return MESSAGES / ((performance.now() - began) / 1_000);
}

async function consuming(bus: Bus, context: TestContext): Promise<number> {
  const inbox: Storage<{ inbox: { id: string } }> = storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...context, name: 'inbox' });
  await inbox.start();
  await inbox.migrate([{ name: '0001', up: (db) => db.schema.createTable('inbox').addColumn('id', 'text', (c) => c.primaryKey()).execute() }]);
  let handled = 0;
  const began = performance.now();
  const consumed = Promise.withResolvers<void>();
  const consumer = await bus.consume('bench', { concurrency: IN_FLIGHT }, async ({ id }) => {
    await inbox.transaction((tx) => tx.run(insertId, { id }));
    if (++handled === MESSAGES) consumed.resolve();
    return { kind: 'done' };
  });
  await consumed.promise;
  await consumer.stop(5_000);
  const rate = MESSAGES / ((performance.now() - began) / 1_000);
  await inbox.stop(5_000);
  return rate;
}

async function idleDelay(bus: Bus): Promise<{ p50: number; p99: number }> {
  await bus.declare(queue('idle'));
  let arrived: (at: number) => void;
  const consumer = await bus.consume('idle', { concurrency: 1 }, async () => {
    arrived(performance.now());
    return { kind: 'done' };
  });
  const delays: number[] = [];
  for (let i = 0; i < 500; i++) {
    const arrival = new Promise<number>((resolve) => (arrived = resolve));
    const began = performance.now();
    await bus.publish([message('idle')]);
    delays.push((await arrival) - began);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await consumer.stop(5_000);
  delays.sort((a, b) => a - b);
  return { p50: delays[Math.floor(delays.length * 0.5)]!, p99: delays[Math.floor(delays.length * 0.99)]! };
}

/** A table with a payload, a savepoint a row and one fsync for a hundred; then the rows read and deleted in order. */
async function bareTable(dir: string): Promise<{ publish: number; consume: number }> {
  const path = join(dir, 'bare.sqlite');
  const db = new DatabaseSync(path);
  db.exec('pragma journal_mode = wal; pragma synchronous = full; create table message (seq integer primary key, id text, payload text)');
  const run = (text: string) => { const prepared = db.prepare(text); return (...values: (string | number)[]) => prepared.run(...values); };
  const [begin, commit, savepoint, release] = [run('begin immediate'), run('commit'), run('savepoint one'), run('release one')];
  const insert = run('insert into message (id, payload) values (?, ?)');
  let waiting: (() => void)[] = [];
  const flush = () => {
    const group = waiting;
    waiting = [];
    begin();
    for (const _ of group) { savepoint(); insert(newId(), PAYLOAD); release(); }
    commit();
    for (const resolve of group) resolve();
  };
  let left = MESSAGES;
  let began = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (left-- > 0) await new Promise<void>((resolve) => { if (waiting.push(resolve) === 1) setImmediate(flush); });
    }),
  );
  const publish = MESSAGES / ((performance.now() - began) / 1_000);
  const select = db.prepare('select seq, id, payload from message where seq > ? order by seq limit ?');
  const remove = run('delete from message where seq in (select value from json_each(?))');
  began = performance.now();
  for (let seqs: number[] = [0]; seqs.length > 0; ) {
    const rows = select.all(seqs.at(-1)!, IN_FLIGHT) as { seq: number }[];
    begin();
    seqs = rows.map((row) => row.seq);
    remove(JSON.stringify(seqs));
    commit();
  }
  const consume = MESSAGES / ((performance.now() - began) / 1_000);
  db.close();
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
  return { publish, consume };
}
