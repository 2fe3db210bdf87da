import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { rpc, rpcLinkOver } from '../../adapters/transport/rpc/transport.ts';
import { newStreamEnds, ThreadStream } from '../../adapters/transport/thread/thread-stream.ts';
import { newTrace } from '../../src/kernel/call.ts';
import { newId } from '../../src/kernel/ids.ts';
import type { Identity, Link } from '../../src/ports/transport.ts';
import type { BenchRow } from './report.ts';

/** Many short ones: what else runs on the machine then falls on both ways alike. */
const ROUNDS = 36;
const ALONE_CALLS = 100;
const IDENTITY: Identity = { introduction: { host: 'caller', process: 'p', contracts: {} }, offers: [], secret: null };
const CHILD = join(import.meta.dirname, 'echo-over.js');

interface Size {
  readonly name: string;
  /** Of the one below, so many in a list. */
  readonly entries: number;
  readonly calls: number;
  readonly inFlight: number;
}
const SIZES: readonly Size[] = [
  { name: '100-b', entries: 0, calls: 5_000, inFlight: 64 },
  { name: '1-kb', entries: 1, calls: 4_000, inFlight: 64 },
  { name: '8-kb', entries: 8, calls: 750, inFlight: 64 },
  { name: '64-kb', entries: 64, calls: 128, inFlight: 16 },
];

/** 1 KB as JSON, in the shape of what modules ask each other. */
function entry(number: number): object {
  return {
    deliveryId: newId(),
    workspace: 'w-0123456789',
    person: { personId: newId(), email: `somebody-${number}@example.org`, timeZone: 'Europe/Zurich', language: 'de' },
    channel: 'email',
    state: 'sent',
    attempts: 1,
    at: 1_789_000_000_000 + number,
    tags: ['renewal', 'auto', 'spring'],
    open: true,
    history: Array.from({ length: 4 }, (_, i) => ({ at: 1_789_000_000_000 + i, state: 'queued', note: 'x'.repeat(60), by: 'system' })),
    text: 'y'.repeat(200),
  };
}

/** Echo of values from 100 bytes to 64 KB: to a thread of this process and to another process over a Unix socket, by turns. */
export async function benchThread(): Promise<BenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  const socketPath = join(folder, 'socket');
  const child = fork(CHILD, [socketPath]);
  await once(child, 'message');
  const [here, there] = newStreamEnds();
  const worker = new Worker(CHILD, { workerData: there, transferList: [there.port] });
  const links = { socket: await opened(rpc.link(IDENTITY, { at: { socketPath } })), thread: await opened(rpcLinkOver({ name: 'thread', connect: () => new ThreadStream(here) }, IDENTITY)) };
  try {
    const rows: BenchRow[] = [];
    for (const size of SIZES) rows.push(...(await compare(size, links)));
    return rows;
  } finally {
    await Promise.all(Object.values(links).map((link) => link.stop(1_000)));
    await worker.terminate();
    child.disconnect();
    rmSync(folder, { recursive: true });
  }
}

async function compare({ name, entries, calls, inFlight }: Size, links: Readonly<Record<'socket' | 'thread', Link>>): Promise<BenchRow[]> {
  const values = Array.from({ length: inFlight }, (_, i) => (entries === 0 ? { personId: newId(), email: `somebody-${i}@example.org` } : { list: Array.from({ length: entries }, (_, k) => entry(k)) }));
  const rates = { socket: [] as number[], thread: [] as number[] };
  const alone = { socket: [] as number[], thread: [] as number[] };
  for (let round = -1; round < ROUNDS; round++) {
    for (const way of ['socket', 'thread'] as const) {
      const rate = await callsPerSecond(links[way], values, calls);
      const p50 = await medianMs(links[way], values[0]!);
      if (round >= 0) rates[way].push(rate), alone[way].push(p50);
    }
  }
  const [rate, p50] = [median(rates.socket), median(alone.socket)];
  return [
    { name: `thread.${name}-${inFlight}-in-flight`, value: median(rates.thread), unit: 'calls/s', aim: rate, limit: rate, note: 'aim: rpc over a Unix socket' },
    { name: `thread.${name}-one-at-a-time-p50`, value: median(alone.thread), unit: 'ms', better: 'lower', aim: p50, limit: p50 },
  ];
}

async function opened(link: Link): Promise<Link> {
  const open = new Promise<void>((resolve) => (link.onChange = () => link.state === 'open' && resolve()));
  await link.start();
  await open;
  return link;
}

function call(link: Link, request: object): Promise<unknown> {
  return new Promise((succeed, fail) => {
    link.send({ contract: 'bench', method: 'echo', request, id: newId(), workspace: 'w-0123456789', actor: { kind: 'user', id: 'u-0123456789' }, trace: newTrace(), idempotencyKey: undefined, deadline: Date.now() + 60_000 }, { succeed, fail });
  });
}

async function callsPerSecond(link: Link, values: readonly object[], calls: number): Promise<number> {
  let left = calls;
  const began = performance.now();
  await Promise.all(
    values.map(async (value) => {
      while (left-- > 0) await call(link, value);
    }),
  );
  return calls / ((performance.now() - began) / 1_000);
}

async function medianMs(link: Link, value: object): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < ALONE_CALLS; i++) {
    const began = performance.now();
    await call(link, value);
    times.push(performance.now() - began);
  }
  return median(times);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
