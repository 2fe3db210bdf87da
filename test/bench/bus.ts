import { fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Bus, Outgoing, QueueSettings } from '../../src/ports/bus.ts';
import type { PeerAddress } from '../../src/ports/transport.ts';
import { type Storage, statement } from '../../src/ports/storage.ts';
import { DEFAULT_BACKOFF } from '../../src/kernel/message.ts';
import { newId } from '../../src/kernel/ids.ts';
import { ActiveMqServer } from '../support/activemq.ts';
import { createBus, sqliteAt, useBroker } from '../support/buses.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { remoteBusAt } from '../support/linked-bus.ts';
import { queuePeers, type QueueFigures, type QueuePeer } from './queue-peers.ts';
import type { BenchRow } from './report.ts';

const IN_FLIGHT = 100;
const ROUNDS = 3;
const MESSAGES = 50_000;
const BACKLOG = 200_000;
const WORKSPACES = 1_000;
const PAYLOAD = JSON.stringify({ filling: 'x'.repeat(1_000) });
const TRACE = { traceId: '0123456789abcdef0123456789abcdef', spanId: '0123456789abcdef' };

interface Inbox {
  inbox: { id: string };
}
const insertId = statement<Inbox, { id: string }>()((db, p) => db.insertInto('inbox').values({ id: p('id') }));

/** The embedded bus against the bare table that it stands on, against itself elsewhere and on ActiveMQ, and against queues of others, by turns on one disk. */
export async function benchBus(): Promise<BenchRow[]> {
  const context = testContext();
  const bus = await startedBus(context);
  const link = await linkedProcess(context);
  const shared = await sharedBus();
  const inbox: Storage<Inbox> = sqliteAt(context)('inbox');
  await inbox.start();
  await inbox.migrate([{ name: '0001', up: (db) => db.schema.createTable('inbox').addColumn('id', 'text', (c) => c.primaryKey()).execute() }]);
  try {
    const peers = Object.fromEntries(Object.keys(queuePeers).map((name) => [name, []])) as unknown as Record<QueuePeer, QueueFigures[]>;
    const rates = { publish: [] as number[], consume: [] as number[], barePublish: [] as number[], bareConsume: [] as number[], linkPublish: [] as number[], linkConsume: [] as number[], sharedPublish: [] as number[], sharedConsume: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      const bare = await bareTable(context.dataDir);
      rates.barePublish.push(bare.publish);
      rates.bareConsume.push(bare.consume);
      rates.publish.push(await publishing(bus));
      rates.consume.push(await consuming(bus, inbox));
      rates.linkPublish.push(await publishing(link.bus));
      rates.linkConsume.push(await consuming(link.bus, inbox));
      rates.sharedPublish.push(await publishing(shared.bus));
      rates.sharedConsume.push(await consuming(shared.bus, inbox));
      for (const [name, measure] of Object.entries(queuePeers)) peers[name as QueuePeer].push(await measure());
    }
    const idle = await idleDelay(bus);
    const away = await idleDelay(link.bus);
    const brokered = await idleDelay(shared.bus);
    return [
      { name: 'bus.publish-1kb-100-in-flight', value: median(rates.publish), unit: '/s', aim: 50_000, limit: median(rates.barePublish), note: 'limit: bare group commit' },
      { name: 'bus.consume-with-inbox-100-at-once', value: median(rates.consume), unit: '/s', aim: 30_000, limit: median(rates.bareConsume), note: 'limit: bare read and delete, no inbox' },
      { name: 'bus.idle-publish-to-handler-p50', value: idle.p50, unit: 'ms', aim: 1.5, better: 'lower', note: `p99 ${idle.p99.toFixed(2)} ms` },
      { name: 'bus.publish-over-rpc-1kb-100-in-flight', value: median(rates.linkPublish), unit: '/s', limit: median(rates.publish), note: 'limit: the same bus in its own process' },
      { name: 'bus.consume-over-rpc-with-inbox-100-at-once', value: median(rates.linkConsume), unit: '/s', limit: median(rates.consume), note: 'limit: the same bus in its own process' },
      { name: 'bus.idle-publish-to-handler-over-rpc-p50', value: away.p50, unit: 'ms', better: 'lower', limit: idle.p50, note: `p99 ${away.p99.toFixed(2)} ms` },
      { name: 'bus.publish-on-activemq-1kb-100-in-flight', value: median(rates.sharedPublish), unit: '/s', aim: 10_000, limit: median(rates.publish), note: 'limit: the embedded bus' },
      { name: 'bus.consume-on-activemq-with-inbox-100-at-once', value: median(rates.sharedConsume), unit: '/s', aim: 5_000, limit: median(rates.consume), note: 'limit: the embedded bus' },
      { name: 'bus.idle-publish-to-handler-on-activemq-p50', value: brokered.p50, unit: 'ms', better: 'lower', limit: idle.p50, note: `p99 ${brokered.p99.toFixed(2)} ms` },
      ...besidePeers(
        { publish: median(rates.publish), consume: median(rates.consume) },
        { publish: median(rates.sharedPublish), consume: median(rates.sharedConsume) },
        (name, what) => median(peers[name].map((figures) => figures[what])),
      ),
      ...(await behindBacklog(bus)),
    ];
  } finally {
    await link.close();
    await shared.close();
    await bus.stop(5_000);
    await inbox.stop(5_000);
    context.remove();
  }
}

/** What the peers reach, and what we are to be beside them. They handle jobs that do nothing; ours write to an inbox. */
function besidePeers(embedded: QueueFigures, activemq: QueueFigures, rateOf: (name: QueuePeer, what: keyof QueueFigures) => number): BenchRow[] {
  const names = Object.keys(queuePeers) as QueuePeer[];
  const best = (what: keyof QueueFigures) => Math.max(...names.map((name) => rateOf(name, what)));
  return [
    ...names.flatMap((name) => (['publish', 'consume'] as const).map((what) => ({ name: `bus.${name}-${what}`, value: rateOf(name, what), unit: '/s' }))),
    { name: 'bus.publish-over-the-best-peer', value: embedded.publish / best('publish'), unit: '×', aim: 2 },
    { name: 'bus.consume-over-the-best-peer', value: embedded.consume / best('consume'), unit: '×', aim: 1 },
    { name: 'bus.publish-on-activemq-over-pg-boss', value: activemq.publish / rateOf('pg-boss', 'publish'), unit: '×', aim: 1 },
    { name: 'bus.consume-on-activemq-over-pg-boss', value: activemq.consume / rateOf('pg-boss', 'consume'), unit: '×', aim: 1 },
  ];
}

async function startedBus(context: TestContext): Promise<Bus> {
  const bus = createBus('embedded', context);
  await bus.start();
  return bus;
}

/** The same bus kept by a process of its own, reached over rpc. */
async function linkedProcess(context: TestContext): Promise<{ bus: Bus; close(): Promise<void> }> {
  const child = fork(join(import.meta.dirname, 'bus-link-child.js'), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const [at] = (await once(child, 'message')) as [PeerAddress['at']];
  const bus = remoteBusAt(at, context);
  await bus.start();
  return {
    bus,
    async close() {
      await bus.stop(1_000);
      const exited = once(child, 'exit');
      child.disconnect();
      await exited;
    },
  };
}

/** Kept by this process on a broker of its own. */
async function sharedBus(): Promise<{ bus: Bus; close(): Promise<void> }> {
  const broker = await ActiveMqServer.start();
  const context = testContext();
  useBroker(context, broker);
  const bus = createBus('activemq', context);
  await bus.start();
  return {
    bus,
    async close() {
      await bus.stop(5_000);
      await broker.remove();
      context.remove();
    },
  };
}

function queue(name: string, ordered = false): QueueSettings {
  return { name, topics: [], ordered, attempts: 12, backoff: DEFAULT_BACKOFF, delayMs: 0, personal: [] };
}

function message(to: string, change: Partial<Outgoing> = {}): Outgoing {
  return { id: newId(), name: 'bench.message', to: { queue: to }, workspace: 'bench', key: null, lane: 'normal', time: Date.now(), trace: TRACE, payload: PAYLOAD, ...change };
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

async function consuming(bus: Bus, inbox: Storage<Inbox>): Promise<number> {
  let handled = 0;
  const consumed = Promise.withResolvers<void>();
  const began = performance.now();
  const consumer = await bus.consume('bench', { concurrency: IN_FLIGHT }, async ({ id }) => {
    await inbox.transaction((tx) => tx.run(insertId, { id }));
    if (++handled === MESSAGES) consumed.resolve();
    return { kind: 'done' };
  });
  await consumed.promise;
  await consumer.stop(5_000);
  return MESSAGES / ((performance.now() - began) / 1_000);
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

/** A long ordered queue of many workspaces: what it costs to look at, to work off, and another's one message behind it. */
async function behindBacklog(bus: Bus): Promise<BenchRow[]> {
  await bus.declare(queue('long', true));
  const batch = (from: number) => Array.from({ length: 100 }, (_, i) => message('long', { workspace: `w${(from + i) % WORKSPACES}`, key: `k${(from + i) % 50_000}` }));
  for (let sent = 0; sent < BACKLOG; sent += 1_000) await Promise.all(Array.from({ length: 10 }, (_, i) => bus.publish(batch(sent + i * 100))));
  const looks: number[] = [];
  for (let look = 0; look < 20; look++) {
    const looked = performance.now();
    await bus.inspect();
    looks.push(performance.now() - looked);
  }
  let handled = 0;
  const small = Promise.withResolvers<number>();
  const some = Promise.withResolvers<void>();
  let began = performance.now();
  const consumer = await bus.consume('long', { concurrency: IN_FLIGHT }, async ({ workspace }) => {
    if (workspace === 'small') small.resolve(performance.now());
    if (++handled === MESSAGES / 5) some.resolve();
    return { kind: 'done' };
  });
  await some.promise;
  const rate = handled / ((performance.now() - began) / 1_000);
  began = performance.now();
  await bus.publish([message('long', { workspace: 'small' })]);
  const delayMs = (await small.promise) - began;
  await consumer.stop(5_000);
  return [
    { name: 'bus.inspect-with-200k-waiting', value: median(looks), unit: 'ms', aim: 5, better: 'lower' },
    { name: 'bus.consume-ordered-1000-workspaces', value: rate, unit: '/s', note: 'no inbox; 200,000 waiting' },
    { name: 'bus.another-workspace-behind-200k', value: delayMs, unit: 'ms', better: 'lower', note: 'while the 200,000 of 1,000 workspaces are worked off' },
  ];
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
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
