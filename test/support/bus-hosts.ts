import { describe, type TestContext as Test } from 'node:test';
import { streamTransports } from '../../adapters/transport/catalog.ts';
import type { Bus } from '../../src/ports/bus.ts';
import { createBus } from './buses.ts';
import { type TestContext, testContext } from './context.ts';
import { remoteBusAt, ServedBus, type TransportName } from './linked-bus.ts';
import { TcpProxy } from './tcp-proxy.ts';

export const ANY_PORT = { host: '127.0.0.1', port: 0 };

/** Runs a suite once for every transport that a bus is reached over from another process; all tests at once where they mostly wait. */
export function onEachTransport(title: string, suite: (transport: TransportName) => void, { atOnce = false } = {}): void {
  describe(title, { concurrency: atOnce }, () => {
    for (const transport of Object.keys(streamTransports) as TransportName[]) describe(transport, () => suite(transport));
  });
}

/** Where the messages of one test live; goes with the test. */
export function place(t: Test): TestContext {
  const context = testContext();
  t.after(() => context.remove());
  return context;
}

/** A process of its own in all but the process: the bus with its service, and where it is reached. */
export async function keeper(t: Test, at: TestContext, transport: TransportName, address: { host: string; port: number } = ANY_PORT): Promise<ServedBus & { readonly port: number }> {
  const served = new ServedBus(createBus('embedded', at), at, address, transport);
  const awake = setInterval(() => {}, 60_000);
  t.after(async () => {
    clearInterval(awake);
    await served.stop(1_000);
  });
  await served.start();
  return Object.assign(served, { port: (served.at as { port: number }).port });
}

export async function caller(t: Test, port: number, transport: TransportName): Promise<Bus> {
  const bus = remoteBusAt({ host: '127.0.0.1', port }, place(t), transport);
  t.after(() => bus.stop(500));
  await bus.start();
  return bus;
}

export async function proxyTo(t: Test, port: number): Promise<TcpProxy> {
  const proxy = await TcpProxy.start(port);
  t.after(() => proxy.stop());
  return proxy;
}
