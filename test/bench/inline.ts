import { z } from 'zod';
import { Call } from '../../src/kernel/call.ts';
import { contract, query } from '../../src/kernel/contract.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import { bindInline } from '../../src/fabric/inline.ts';
import { Target } from '../../src/fabric/target.ts';
import { peer } from './peers.ts';
import type { BenchRow } from './report.ts';

interface Echo {
  echo(request: { text: string }, call: Call): Promise<{ text: string }>;
}
const Text = z.object({ text: z.string() });
const echo = contract<Echo>('echo', { echo: query({ input: Text, output: Text, timeoutMs: 1_000 }) });
class EchoService implements Echo {
  async echo(request: { text: string }): Promise<{ text: string }> {
    return request;
  }
}
const CALLS = 300_000;
const ROUNDS = 7;

/** The stub against the bare async method, in turns within one run. */
export async function benchInline(): Promise<BenchRow[]> {
  const bare = new EchoService();
  const target = new Target(echo);
  target.serve(bare);
  const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
  const stub = bindInline(target, echo, silent);
  const bareNs: number[] = [];
  const stubNs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    bareNs.push(await nsPerCall(bare));
    stubNs.push(await nsPerCall(stub));
  }
  const limit = median(bareNs);
  const over = median(stubNs) - limit;
  const moleculer = await peer<{ over: number }>('moleculer');
  return [
    { name: 'inline.bare-method', value: limit, unit: 'ns' },
    { name: 'inline.over-the-bare-method', value: over, unit: 'ns', aim: 200, better: 'lower', limit },
    { name: 'inline.moleculer-local-call-over-the-bare-method', value: moleculer.over, unit: 'ns', better: 'lower' },
  ];
}

async function nsPerCall(service: Echo): Promise<number> {
  const call = new Call({ workspace: null, actor: { kind: 'system', id: 'bench' }, deadline: Date.now() + 600_000 });
  const request = { text: 'x'.repeat(1_000) };
  const began = performance.now();
  for (let i = 0; i < CALLS; i++) await service.echo(request, call);
  return ((performance.now() - began) * 1e6) / CALLS;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
