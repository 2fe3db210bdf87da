import { execFile } from 'node:child_process';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { injectable } from 'inversify';
import Koa from 'koa';
import { z } from 'zod';
import { DemoKey } from '../../modules/portal/access/demo-key.ts';
import { ingestBatch } from '../../modules/portal/ingest/job.ts';
import { portalModule } from '../../modules/portal/module.ts';
import { trigger } from '../../modules/trigger/contract.ts';
import { systemCall } from '../../src/kernel/call.ts';
import { defineModule } from '../../src/kernel/module.ts';
import { inParts } from '../../src/ports/in-parts.ts';
import { composeForTest, type TestComposition } from '../support/compose.ts';
import { testContext } from '../support/context.ts';
import { notificationStandIn } from '../support/notification-stand-in.ts';
import type { BenchRow } from './report.ts';

const CONNECTIONS = 32;
const EVENTS = 20;
const SECONDS = 3;
const ROUNDS = 3;

interface Load { readonly batches: number; readonly refused: number; readonly perSecond: number; readonly p50: number; readonly p99: number; readonly longest: number }

@injectable()
class NoTrigger {}
for (const method of Object.keys(trigger.operations)) Object.defineProperty(NoTrigger.prototype, method, { value: () => Promise.reject(new Error('Not asked here.')) });
/** Nobody listens to events here: the bench ends where portal's work ends. */
const noTrigger = defineModule({ name: 'trigger', contract: trigger, implementation: NoTrigger as never, calls: [], migrations: [], subscriptions: [], publishes: [], settings: z.strictObject({}), parts: [], lifecycles: [] });

/**
 * Batches of 20 events over HTTP until they are on disk, against Koa with JSON.parse over a bare group commit in the
 * same process; then what the queue holds through the handler into people, events and outbox.
 */
export async function benchIngest(): Promise<BenchRow[]> {
  const composition = composeForTest({ modules: [portalModule, noTrigger, notificationStandIn], placement: 'inline' });
  await composition.start();
  try {
    const key = await makeKey(composition);
    await composition.bus.pause(ingestBatch.name);
    const limits: Load[] = [];
    const loads: Load[] = [];
    const turns: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      // Only the last round's batches are recorded afterwards.
      await inParts((from) => composition.bus.purge(ingestBatch.name, { dead: false, filter: {}, ...from }));
      limits.push(await againstBareTable(key));
      const watched = longestTurn();
      loads.push(await serving((request, response) => void composition.http[0]!.handle(request, response), key));
      turns.push(watched());
    }
    if (loads.some((load) => load.refused > 0)) throw new Error('The bench was refused; its figures mean nothing.');
    const drained = await drain(composition, loads.at(-1)!.batches * EVENTS);
    return [
      { name: 'ingest.events-until-on-disk', value: median(loads.map((l) => l.perSecond)) * EVENTS, unit: '/s', aim: 40_000, limit: median(limits.map((l) => l.perSecond)) * EVENTS, note: 'limit: Koa and JSON.parse over a bare group commit' },
      { name: 'ingest.p50', value: median(loads.map((l) => l.p50)), unit: 'ms', better: 'lower' },
      { name: 'ingest.p99', value: median(loads.map((l) => l.p99)), unit: 'ms', aim: 100, better: 'lower', limit: median(limits.map((l) => l.p99)) },
      { name: 'ingest.longest-turn', value: Math.max(...turns), unit: 'ms', aim: 50, better: 'lower' },
      { name: 'ingest.events-recorded', value: drained.perSecond, unit: '/s', note: `from the queue into people, events and outbox; ${drained.cpuUs.toFixed(0)} µs of CPU each` },
      { name: 'ingest.longest-turn-while-recording', value: drained.turn, unit: 'ms', aim: 50, better: 'lower' },
    ];
  } finally {
    await composition.dispose();
  }
}

async function makeKey(composition: TestComposition): Promise<string> {
  const { secret } = (await composition.part('portal', DemoKey).run({}, systemCall('bench', null, Date.now() + 10_000))) as { secret: string };
  return secret;
}

/** What JSON.parse, Koa and a group commit cost without anything of ours. */
async function againstBareTable(key: string): Promise<Load> {
  const context = testContext();
  const database = new DatabaseSync(join(context.dataDir, 'bare.sqlite'));
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE batches (id INTEGER PRIMARY KEY, body TEXT NOT NULL)');
  const insert = database.prepare('INSERT INTO batches (body) VALUES (?)');
  let waiting: { body: string; done: () => void }[] = [];
  const commit = (): void => {
    const group = waiting;
    waiting = [];
    database.exec('BEGIN');
    for (const { body } of group) insert.run(body);
    database.exec('COMMIT');
    for (const { done } of group) done();
  };
  const app = new Koa();
  app.use(async (context) => {
    const chunks: Buffer[] = [];
    for await (const chunk of context.req) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    JSON.parse(text);
    await new Promise<void>((done) => {
      if (waiting.push({ body: text, done }) === 1) setImmediate(commit);
    });
    context.body = { success: true };
  });
  try {
    return await serving(app.callback() as RequestListener, key);
  } finally {
    database.close();
    context.remove();
  }
}

async function serving(listener: RequestListener, key: string): Promise<Load> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    const args = [join(import.meta.dirname, 'ingest-load.js'), String(port), String(CONNECTIONS), String(SECONDS), String(EVENTS), key];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    return JSON.parse(stdout) as Load;
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Lets the queue go and waits until it is empty. */
async function drain(composition: TestComposition, events: number): Promise<{ perSecond: number; cpuUs: number; turn: number }> {
  const watched = longestTurn();
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  await composition.bus.resume(ingestBatch.name);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const queue = (await composition.bus.inspect()).find(({ name }) => name === ingestBatch.name)!;
    if (queue.dead > 0) throw new Error('Batches died; the figures mean nothing.');
    if (queue.inFlight + queue.ready.normal + queue.waiting === 0) break;
  }
  const used = process.cpuUsage(cpu);
  return { perSecond: events / ((performance.now() - began) / 1_000), cpuUs: (used.user + used.system) / events, turn: watched() };
}

/** The longest that this thread computed in one go, ms of its own CPU: what other programs take does not count. */
function longestTurn(): () => number {
  const now = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1_000;
  };
  let last = now();
  let longest = 0;
  const beat = setInterval(() => {
    const at = now();
    longest = Math.max(longest, at - last);
    last = at;
  }, 1);
  return () => {
    clearInterval(beat);
    return longest;
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
