import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { httpTransport } from '../../adapters/transport/http/transport.ts';
import { rpc, rpcLinkOver } from '../../adapters/transport/rpc/transport.ts';
import type { Call } from '../../src/kernel/call.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import type { Contract } from '../../src/kernel/contract.ts';
import { Fault } from '../../src/kernel/fault.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Identity, PeerAddress, StreamTransport } from '../../src/ports/transport.ts';
import { cached } from '../../src/fabric/cached.ts';
import { Edge } from '../../src/fabric/edge.ts';
import { placements } from '../../src/fabric/placements.ts';
import { bindRemote } from '../../src/fabric/remote.ts';
import { Replicas } from '../../src/fabric/replicas.ts';
import { offerOf, Serving } from '../../src/fabric/serve.ts';
import { stubOf, type Target } from '../../src/fabric/target.ts';
import { noMetrics } from './context.ts';
import { localCache } from './pantry.ts';
import { threadWayTo } from './thread-way.ts';

export interface Placed<T> {
  readonly stub: T;
  close(): Promise<void>;
}
export type Place = <T>(target: Target, contract: Contract<T>, log: Log) => Promise<Placed<T>>;

/** Every way to reach a module, ready to be called: one line each. The contract suite runs over this table. */
export const places: Readonly<Record<string, Place>> = {
  inline: within('inline'),
  'inline-strict': within('inline-strict'),
  'rpc over TCP': across(rpc, 'tcp'),
  'rpc over a Unix socket': across(rpc, 'unix'),
  'thread, over a MessagePort': overPort,
  'http, each call in a request of its own': across(httpTransport({ batches: false }), 'tcp'),
  'http, calls of one turn together': across(httpTransport({ batches: true }), 'tcp'),
  'http over a Unix socket': across(httpTransport({ batches: true }), 'unix'),
  'rpc over TCP, from a cache': fromCache(across(rpc, 'tcp')),
  'http, from a cache': fromCache(across(httpTransport({ batches: true }), 'tcp')),
};

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

function within(placement: keyof typeof placements): Place {
  return async (target, contract, log) => ({ stub: placements[placement](target, contract, log), close: async () => {} });
}

function across(transport: StreamTransport, way: 'tcp' | 'unix'): Place {
  return async (target, contract, log) => {
    const serving = new Serving([target], log);
    const identity: Identity = { introduction: { host: 'callee', process: 'callee-1', contracts: { [contract.name]: contract.hash } }, offers: [offerOf(contract)], secret: 'known to both' };
    const server = transport.serve(identity, serving);
    const listener = createServer((socket) => server.accept(socket));
    const folder = await mkdtemp(join(tmpdir(), 'placed-'));
    await once(way === 'tcp' ? listener.listen(0, '127.0.0.1') : listener.listen(join(folder, 'socket')), 'listening');
    const at: PeerAddress['at'] = way === 'tcp' ? { host: '127.0.0.1', port: (listener.address() as AddressInfo).port } : { socketPath: join(folder, 'socket') };
    const caller: Identity = { introduction: { host: 'caller', process: 'caller-1', contracts: {} }, offers: [], secret: 'known to both' };
    const replicas = new Replicas({ host: 'callee', contracts: [contract], newLink: () => transport.link(caller, { at }), log: silent });
    replicas.update(['callee']);
    while (!replicas.ready) await new Promise<void>((resolve) => replicas.patience.onceChanged(resolve));
    return {
      stub: bindRemote(contract, replicas, new Edge()),
      async close() {
        listener.close();
        await Promise.all([replicas.stop(1_000), server.stop(1_000)]);
        await rm(folder, { recursive: true, force: true });
      },
    };
  };
}

/** Queries whose answer depends on who asks, or changes without an event: none may have a cache rule. */
const NOT_TO_BE_CACHED = new Set(['who', 'log']);

/** Every query that may be is cached, long enough for the whole suite. */
function fromCache(place: Place): Place {
  return async (target, contract, log) => {
    const { stub, close } = await place(target, contract, log);
    const cache = { ttlMs: 60_000, keyBy: (request: unknown) => JSON.stringify(request) };
    const operations = Object.fromEntries(Object.entries(contract.operations).map(([method, descriptor]) => [method, descriptor.kind === 'query' && !NOT_TO_BE_CACHED.has(method) ? { ...descriptor, cache } : descriptor]));
    const caching = cached({ ...contract, operations: operations as typeof contract.operations }, stub, { local: localCache(), clock: systemClock, metrics: noMetrics, log });
    return {
      stub: caching.stub,
      close() {
        caching.close();
        return close();
      },
    };
  };
}

async function overPort<T>(target: Target, contract: Contract<T>, log: Log): Promise<Placed<T>> {
  const serving = new Serving([target], log);
  const server = rpc.serve({ introduction: { host: 'callee', process: 'callee-1', contracts: { [contract.name]: contract.hash } }, offers: [offerOf(contract)], secret: null }, serving);
  const caller: Identity = { introduction: { host: 'caller', process: 'caller-1', contracts: {} }, offers: [], secret: null };
  const replicas = new Replicas({ host: 'callee', contracts: [contract], newLink: () => rpcLinkOver(threadWayTo(server), caller), log: silent });
  replicas.update(['callee']);
  while (!replicas.ready) await new Promise<void>((resolve) => replicas.patience.onceChanged(resolve));
  return {
    stub: bindRemote(contract, replicas, new Edge()),
    close: async () => void (await Promise.all([replicas.stop(1_000), server.stop(1_000)])),
  };
}

/**
 * Makes every call that may be repeated (queries, and commands with an idempotency key) a second time, and insists on
 * the same answer.
 */
export function repeating<T>(contract: Contract<T>, stub: T, isSame: (first: unknown, second: unknown) => boolean = isDeepStrictEqual): T {
  const inner = stub as Record<string, (request: unknown, call: Call) => Promise<unknown>>;
  return stubOf(contract, (method, { kind }) => async (request, call) => {
    const first = await outcomeOf(inner[method]!(request, call));
    const mayRepeat = (kind === 'query' || call.idempotencyKey !== undefined) && !call.cancelSignal?.aborted && call.leftMs(Date.now()) > 0;
    if (mayRepeat) {
      const second = await outcomeOf(inner[method]!(request, call));
      assert.ok(isSame(first, second), `${method} answered ${JSON.stringify(first)}, then ${JSON.stringify(second)}`);
    }
    if ('thrown' in first) throw first.thrown;
    return first.value;
  });
}

type Outcome = { readonly value: unknown } | { readonly fault: unknown; readonly thrown: unknown };

async function outcomeOf(answer: Promise<unknown>): Promise<Outcome> {
  return answer.then(
    (value) => ({ value }),
    (thrown: unknown) => ({ fault: Fault.is(thrown) ? thrown.toRecord() : String(thrown), thrown }),
  );
}
