import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { after, before, type TestContext as Test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, CreateMode, type Client } from 'node-zookeeper-client';
import { newId } from '../../src/kernel/ids.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Registry, RegistryNeeds, RegistryState } from '../../src/ports/registry.ts';
import { createRegistry } from './registries.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { ZooKeeperServer } from './zookeeper.ts';

export const TIMEOUT_MS = 2_000;

/** A log that keeps what it is told. */
export class Lines {
  readonly lines: { readonly fields: Record<string, unknown>; readonly message: string }[] = [];
  readonly log: Log;

  constructor() {
    const keep = (fields: object, message: string): void => void this.lines.push({ fields: { ...fields }, message });
    this.log = { debug: keep, info: keep, warn: keep, error: keep, child: () => this.log };
  }

  about(words: string): object[] {
    return this.lines.filter(({ message }) => message.includes(words)).map(({ fields }) => fields);
  }
}

export interface Place {
  readonly root: string;
  /** Started; stopped after the test. */
  open(settings?: object, log?: Log, hosts?: RegistryNeeds['hosts']): Promise<Registry>;
  settings(change?: object): object;
}

/** A ZooKeeper for the tests of one file. */
export interface ZooKeeperOfFile {
  readonly server: ZooKeeperServer;
  /** A deployment of its own. */
  placeOf(t: Test): Place;
  /** In front of the server. */
  proxyOf(t: Test): Promise<TcpProxy>;
  /** A client of the library's own, to do what no registry does. */
  stranger(t: Test): Promise<Client>;
}

export function zooKeeperOfFile(): ZooKeeperOfFile {
  let server: ZooKeeperServer;
  before(async () => void (server = await ZooKeeperServer.start()));
  after(() => server.remove());
  return {
    get server() {
      return server;
    },
    placeOf: (t) => placeAt(t, server),
    async proxyOf(t) {
      const proxy = await TcpProxy.start(server.port);
      t.after(() => proxy.stop());
      return proxy;
    },
    async stranger(t) {
      const client = createClient(`127.0.0.1:${server.port}`, { sessionTimeout: 10_000 });
      const connected = once(client, 'connected');
      client.connect();
      await connected;
      t.after(() => client.close());
      return client;
    },
  };
}

function placeAt(t: Test, server: ZooKeeperServer): Place {
  const root = `/${newId()}`;
  const settings = (change: object = {}): object => ({ servers: [`127.0.0.1:${server.port}`], sessionTimeoutMs: TIMEOUT_MS, root, ...change });
  return {
    root,
    settings,
    async open(change, log, hosts = []) {
      const registry = createRegistry('zookeeper', settings(change), log ? { log } : {}, hosts);
      t.after(() => registry.stop(1_000));
      await registry.start();
      return registry;
    },
  };
}

/** Settings that go to ZooKeeper by way of the proxy. */
export const through = (proxy: TcpProxy): object => ({ servers: [`127.0.0.1:${proxy.port}`] });
export const has = (state: RegistryState, ...processes: string[]): boolean => processes.every((id) => state.announcements.some(({ process }) => process === id));
/** Whether the list is up to date and has these processes and no other. */
export const freshWith = (...processes: string[]) => (state: RegistryState) => state.fresh && has(state, ...processes) && state.announcements.length === processes.length;

export function put(client: Client, path: string, data: Buffer, mode = CreateMode.EPHEMERAL): Promise<string> {
  return new Promise((resolve, reject) => client.create(path, data, mode, (error, made) => (error ? reject(error) : resolve(made))));
}

export function childrenOf(client: Client, path: string): Promise<string[]> {
  return new Promise((resolve, reject) => client.getChildren(path, (error, names) => (error ? reject(error) : resolve(names))));
}

export function removeFrom(client: Client, path: string): Promise<void> {
  return new Promise((resolve, reject) => client.remove(path, (error) => (error ? reject(error) : resolve())));
}

/** A port that does with connections what it is told. */
export async function portThat(t: Test, meet: (socket: Socket) => void): Promise<{ readonly port: number; readonly met: number; readonly open: number }> {
  const sockets = new Set<Socket>();
  let met = 0;
  const listening = createServer((socket) => {
    met++;
    sockets.add(socket.resume().on('error', () => {}).on('close', () => sockets.delete(socket)));
    meet(socket);
  }).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  t.after(() => {
    listening.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = listening.address() as AddressInfo;
  return {
    port,
    get met() {
      return met;
    },
    get open() {
      return sockets.size;
    },
  };
}

/** Resolves when a node has so many children, none of them called like `without`. */
export async function untilChildren(client: Client, path: string, count: number, without = /^$/): Promise<void> {
  for (const end = performance.now() + 10_000; ; await sleep(20)) {
    const names = await childrenOf(client, path).catch(() => []);
    if (names.length === count && !names.some((name) => without.test(name))) return;
    assert.ok(performance.now() < end, `${names.join(', ')} instead of ${count}, without ${without}`);
  }
}

export async function until(condition: () => boolean, otherwise: string, withinMs = 30_000): Promise<void> {
  for (const end = performance.now() + withinMs; !condition(); await sleep(5)) assert.ok(performance.now() < end, otherwise);
}
