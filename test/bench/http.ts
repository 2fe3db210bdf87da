import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Pool } from 'undici';
import { httpTransport } from '../../adapters/transport/http/transport.ts';
import { newTrace } from '../../src/kernel/call.ts';
import { newId } from '../../src/kernel/ids.ts';
import type { Link } from '../../src/ports/transport.ts';
import type { BenchRow } from './report.ts';

const IN_FLIGHT = 64;
const ROUNDS = 7;
const ROUND_CALLS = 20_000;
const ALONE_CALLS = 3_000;

/** 1 KB as JSON, in the shape of what modules ask each other. */
const VALUE = {
  deliveryId: '0190e1a0-7b1c-7000-8000-0123456789ab',
  workspace: 'w-0123456789',
  person: { personId: '0190e1a0-7b1c-7000-8000-ba9876543210', email: 'somebody@example.org', timeZone: 'Europe/Zurich', language: 'de' },
  channel: 'email',
  state: 'sent',
  attempts: 1,
  at: 1_789_000_000_000,
  tags: ['renewal', 'auto', 'spring'],
  open: true,
  history: Array.from({ length: 4 }, (_, i) => ({ at: 1_789_000_000_000 + i, state: 'queued', note: 'x'.repeat(60), by: 'system' })),
  text: 'y'.repeat(200),
};

type Way = () => Promise<unknown>;

/** Echo of a 1 KB value between two processes, with 64 calls in flight: ours and bare node:http with undici, by turns. */
export async function benchHttp(): Promise<BenchRow[]> {
  const child = fork(join(import.meta.dirname, 'http-child.js'));
  const [ports] = (await once(child, 'message')) as [{ ours: number; bare: number }];
  const singly = await opened(ports.ours, false);
  const together = await opened(ports.ours, true);
  const pool = new Pool(`http://127.0.0.1:${ports.bare}`, { connections: IN_FLIGHT });
  const ways: Record<'bare' | 'singly' | 'together', Way> = { bare: () => bareCall(pool), singly: () => call(singly), together: () => call(together) };
  const rates = { bare: [] as number[], singly: [] as number[], together: [] as number[] };
  const alone = { bare: [] as number[], singly: [] as number[], together: [] as number[] };
  try {
    for (let round = -1; round < ROUNDS; round++) {
      for (const way of Object.keys(ways) as (keyof typeof ways)[]) {
        const rate = await callsPerSecond(ways[way]);
        const p50 = await medianMs(ways[way]);
        if (round >= 0) rates[way].push(rate), alone[way].push(p50);
      }
    }
  } finally {
    await Promise.all([singly.stop(1_000), together.stop(1_000), pool.destroy()]);
    child.disconnect();
  }
  const limit = median(rates.bare);
  return [
    { name: 'http.bare-node-http-undici-64-in-flight', value: limit, unit: 'calls/s' },
    { name: 'http.singly-64-in-flight', value: median(rates.singly), unit: 'calls/s', aim: 20_000, limit, note: 'aim: 0.65 of the limit' },
    { name: 'http.a-turn-in-one-post-64-in-flight', value: median(rates.together), unit: 'calls/s', aim: 35_000, limit },
    { name: 'http.one-at-a-time-p50', value: median(alone.together), unit: 'ms', better: 'lower', limit: median(alone.bare) },
  ];
}

async function opened(port: number, batches: boolean): Promise<Link> {
  const link = httpTransport({ batches }).link({ introduction: { host: 'caller', process: 'p', contracts: {} }, offers: [], secret: 'bench' }, { at: { host: '127.0.0.1', port } });
  const open = new Promise<void>((resolve) => (link.onChange = () => link.state === 'open' && resolve()));
  await link.start();
  await open;
  return link;
}

function call(link: Link): Promise<unknown> {
  return new Promise((succeed, fail) => {
    link.send({ contract: 'bench', method: 'echo', request: VALUE, id: newId(), workspace: 'w-0123456789', actor: { kind: 'user', id: 'u-0123456789' }, trace: newTrace(), idempotencyKey: undefined, deadline: Date.now() + 60_000 }, { succeed, fail });
  });
}

async function bareCall(pool: Pool): Promise<unknown> {
  const { body } = await pool.request({ method: 'POST', path: '/echo', headers: { 'content-type': 'application/json' }, body: JSON.stringify(VALUE) });
  return JSON.parse(await body.text());
}

async function callsPerSecond(way: Way): Promise<number> {
  let left = ROUND_CALLS;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (left-- > 0) await way();
    }),
  );
  return ROUND_CALLS / ((performance.now() - began) / 1_000);
}

async function medianMs(way: Way): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < ALONE_CALLS / ROUNDS; i++) {
    const began = performance.now();
    await way();
    times.push(performance.now() - began);
  }
  return median(times);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
