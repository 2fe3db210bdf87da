import assert from 'node:assert/strict';
import type { TestContext as Test } from 'node:test';
import { z } from 'zod';
import { Call } from '../../src/kernel/call.ts';
import { command, contract, query } from '../../src/kernel/contract.ts';
import { deadlines } from '../../src/kernel/deadline.ts';
import { Fault, type FaultOrigin } from '../../src/kernel/fault.ts';
import { Edge } from '../../src/fabric/edge.ts';
import { bindRemote } from '../../src/fabric/remote.ts';
import { REPLICA_DEFAULTS } from '../../src/fabric/replica.ts';
import { Replicas } from '../../src/fabric/replicas.ts';
import { silentLog } from './context.ts';
import { ScriptedLink } from './scripted-link.ts';

interface Shop {
  look(request: { n: number }, call: Call): Promise<{ n: number }>;
  buy(request: { n: number }, call: Call): Promise<{ n: number }>;
}
interface Bell {
  ring(request: { n: number }, call: Call): Promise<{ n: number }>;
  /** Waits for as long as 20 s on purpose. */
  listen(request: { n: number }, call: Call): Promise<{ n: number }>;
  /** May take 100 ms. */
  tap(request: { n: number }, call: Call): Promise<{ n: number }>;
}
export const N = z.object({ n: z.int() });
export const shop = contract<Shop>('shop', { look: query({ input: N, output: N, timeoutMs: 2_000 }), buy: command({ input: N, output: N, timeoutMs: 2_000 }) });
export const TAP_MS = 100;
/** At the same host. */
export const bell = contract<Bell>('bell', {
  ring: query({ input: N, output: N, timeoutMs: 2_000 }),
  listen: query({ input: N, output: N, timeoutMs: 30_000 }),
  tap: query({ input: N, output: N, timeoutMs: TAP_MS }),
});

export const REST_MS = REPLICA_DEFAULTS.restMs;
export const WARM_MS = REPLICA_DEFAULTS.slowStartMs;

/** Three replicas `a`, `b`, `c` of the host `shop`, behind links that the test answers for. */
export class ReplicaRig {
  readonly links = new Map<string, ScriptedLink>();
  readonly edge = new Edge();
  nowMs = 0;
  readonly replicas = new Replicas({ host: 'shop', contracts: [shop, bell], newLink: (address) => this.#newLink(address), log: silentLog, now: () => this.nowMs });
  readonly stub = bindRemote(shop, this.replicas, this.edge);
  readonly bell = bindRemote(bell, this.replicas, this.edge);
  readonly made: ScriptedLink[] = [];

  constructor(t: Test) {
    t.after(async () => {
      await this.replicas.stop(0);
      assert.equal(deadlines.size, 0, 'a deadline was left');
    });
  }

  /** Open, and warm unless told otherwise. */
  async open(...addresses: string[]): Promise<ScriptedLink[]> {
    this.replicas.update(addresses);
    for (const address of addresses) if (this.link(address).state !== 'open') this.link(address).open(introduction(address));
    await turn();
    this.nowMs += WARM_MS;
    return addresses.map((address) => this.link(address));
  }

  link(address: string): ScriptedLink {
    return this.links.get(address)!;
  }

  #newLink(address: string): ScriptedLink {
    const link = new ScriptedLink();
    // As real links do, it connects a moment later.
    link.start = async () => link.become('connecting', `${address} does not answer.`);
    this.links.set(address, link);
    this.made.push(link);
    return link;
  }
}

export function introduction(process: string, hash = shop.hash, host = 'shop') {
  return { host, process, contracts: { shop: hash, bell: bell.hash } };
}
export function call(over: Partial<ConstructorParameters<typeof Call>[0]> = {}): Call {
  return new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: Date.now() + 10_000, ...over });
}
export function fault(origin: FaultOrigin, code: 'unavailable' | 'conflict' | 'invalid' = 'unavailable', reason = 'scripted'): Fault {
  return new Fault(code, 'As the script says.', { origin, reason });
}
export async function outcomeOf(answer: Promise<unknown>): Promise<unknown> {
  return answer.then(
    (value) => value,
    (thrown: unknown) => (Fault.is(thrown) ? `${thrown.code}/${thrown.reason} ${thrown.origin}` : thrown),
  );
}
export const turn = (): Promise<void> => new Promise(setImmediate);
export const echo: NonNullable<ScriptedLink['answer']> = ({ request }, reply) => reply.succeed(request);
export const failing = (origin: FaultOrigin, code?: 'unavailable' | 'conflict' | 'invalid'): NonNullable<ScriptedLink['answer']> => (_call, reply) => reply.fail(fault(origin, code));
