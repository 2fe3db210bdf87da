import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { BenchRow } from './report.ts';

const PEERS = join(import.meta.dirname, '../../../test/bench/peers');
const ROUNDS = 7;
const IN_FLIGHT = 64;
/** Calls of a round: enough for some tenths of a second. */
const CALLS = { raw: 20_000, multilith: 20_000, moleculer: 12_000, nest: 12_000, grpc: 3_000 };
const ALONE_CALLS = 1_500;

/** Each a program beside the sources, `rpc-<name>.mjs`: what measures the stub on top of the transport is one more. */
type Name = keyof typeof CALLS;

interface Measured {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
}

interface Figures {
  readonly together: Measured[];
  readonly alone: Measured[];
}

/** Echo of a 1 KB value between two processes: ours, others', and a bare socket as the limit, by turns. */
export async function benchRpc(): Promise<BenchRow[]> {
  const figures = new Map<Name, Figures>();
  const callers = new Map<Name, ChildProcess>();
  try {
    for (const name of Object.keys(CALLS) as Name[]) {
      figures.set(name, { together: [], alone: [] });
      callers.set(name, await ready(name));
    }
    for (let round = -2; round < ROUNDS; round++) {
      for (const [name, caller] of callers) {
        const together = await ask(caller, { calls: CALLS[name], inFlight: IN_FLIGHT });
        const alone = await ask(caller, { calls: ALONE_CALLS, inFlight: 1 });
        // The first rounds warm up.
        if (round < 0) continue;
        figures.get(name)!.together.push(together);
        figures.get(name)!.alone.push(alone);
      }
    }
  } finally {
    for (const caller of callers.values()) caller.disconnect();
  }
  return rowsOf(figures);
}

async function ready(name: Name): Promise<ChildProcess> {
  const caller = fork(join(PEERS, `rpc-${name}.mjs`), [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] });
  await Promise.race([once(caller, 'message'), gone(caller, name)]);
  return caller;
}

async function ask(caller: ChildProcess, round: { calls: number; inFlight: number }): Promise<Measured> {
  caller.send(round);
  const [measured] = (await Promise.race([once(caller, 'message'), gone(caller, 'a caller')])) as [Measured];
  return measured;
}

async function gone(caller: ChildProcess, name: string): Promise<never> {
  await once(caller, 'exit');
  throw new Error(`${name} has ended`);
}

function rowsOf(figures: ReadonlyMap<Name, Figures>): BenchRow[] {
  const rate = (name: Name): number => median(figures.get(name)!.together.map(({ perSecond }) => perSecond));
  const alone = (name: Name, which: 'p50' | 'p99'): number => median(figures.get(name)!.alone.map((measured) => measured[which]));
  const limit = rate('raw');
  const others = (['moleculer', 'nest', 'grpc'] as const).flatMap((name): BenchRow[] => [
    { name: `rpc.${name}-64-in-flight`, value: rate(name), unit: 'calls/s', limit },
    { name: `rpc.${name}-one-at-a-time-p50`, value: alone(name, 'p50'), unit: 'µs', better: 'lower', limit: alone('raw', 'p50') },
  ]);
  return [
    { name: 'rpc.raw-socket-64-in-flight', value: limit, unit: 'calls/s', note: 'TCP, msgpackr with shared records' },
    { name: 'rpc.64-in-flight', value: rate('multilith'), unit: 'calls/s', aim: 0.87 * limit, limit, note: 'aim: 60,000 where the socket does 69,000' },
    { name: 'rpc.over-moleculer-tcp', value: rate('multilith') / rate('moleculer'), unit: '×', aim: 1.4 },
    { name: 'rpc.over-grpc-js', value: rate('multilith') / rate('grpc'), unit: '×', aim: 7 },
    { name: 'rpc.one-at-a-time-p50', value: alone('multilith', 'p50'), unit: 'µs', aim: 1.2 * alone('raw', 'p50'), better: 'lower', limit: alone('raw', 'p50') },
    { name: 'rpc.one-at-a-time-p99', value: alone('multilith', 'p99'), unit: 'µs', better: 'lower', limit: alone('raw', 'p99') },
    ...others,
  ];
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
