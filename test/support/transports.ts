import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext as Test } from 'node:test';
import { streamTransports } from '../../adapters/transport/catalog.ts';
import { rpc, rpcLinkOver } from '../../adapters/transport/rpc/transport.ts';
import type { Dispatcher, Identity, Link, PeerAddress, Server, StreamTransport } from '../../src/ports/transport.ts';
import { identityOf, linkState } from './http-host.ts';
import { threadWayTo } from './thread-way.ts';

export { ask, callOf, echo, faultOf, Held, identityOf, linkState, SECRET } from './http-host.ts';
export { within } from './buses.ts';

type Place = PeerAddress['at'];

export interface Host {
  readonly address: PeerAddress;
  readonly server: Server<any>;
  /** Connections as they were accepted, as long as they are there. */
  readonly sockets: ReadonlySet<Socket>;
  /** Takes no new connections; those that are there stay. */
  stopListening(): Promise<void>;
  /** As when the process is killed: nothing is answered any more, and the address is free. */
  kill(): Promise<void>;
}

export interface TransportUnderTest {
  readonly name: string;
  readonly transport: StreamTransport;
  /** Serves until the end of the test, at a place of its own or where another one was. */
  host(t: Test, dispatch: Dispatcher['dispatch'], identity?: Identity, at?: Place): Promise<Host>;
  /** Started; stopped at the end of the test. */
  link(t: Test, to: PeerAddress, identity?: Identity): Link;
  /** The same, once it is open. */
  openLink(t: Test, to: PeerAddress, identity?: Identity): Promise<Link>;
}

/** Runs a suite for every transport of the catalog, over TCP and over Unix sockets. */
export function onEachTransport(title: string, suite: (under: TransportUnderTest) => void): void {
  for (const [name, transport] of Object.entries(streamTransports)) {
    for (const way of ['tcp', 'unix'] as const) describe(`${title}: ${name} over ${way}`, () => suite(transportUnderTest(name, transport, way)));
  }
}

/** Gives an open link to a host that answers with `dispatch`; both stop at the end of the test. */
export type Opened = (t: Test, dispatch: Dispatcher['dispatch']) => Promise<Link>;

/** Runs a suite for which only what crosses matters, not how the ends find each other: for every transport once, and for rpc between threads. */
export function onEachWire(title: string, suite: (opened: Opened) => void): void {
  for (const [name, transport] of Object.entries(streamTransports)) {
    const under = transportUnderTest(name, transport);
    describe(`${title}: ${name}`, () => suite(async (t, dispatch) => under.openLink(t, (await under.host(t, dispatch)).address)));
  }
  describe(`${title}: rpc between threads`, () => suite(openedBetweenThreads));
}

async function openedBetweenThreads(t: Test, dispatch: Dispatcher['dispatch']): Promise<Link> {
  const server = rpc.serve(identityOf(), { dispatch });
  const link = rpcLinkOver(threadWayTo(server), identityOf({ offers: [] }));
  t.after(() => Promise.all([link.stop(0), server.stop(0)]));
  void link.start();
  await linkState(link, 'open');
  return link;
}

export function transportUnderTest(name: string, transport: StreamTransport, way: 'tcp' | 'unix' = 'tcp'): TransportUnderTest {
  const under: TransportUnderTest = {
    name,
    transport,
    host: (t, dispatch, identity = identityOf(), at = way === 'tcp' ? { host: '127.0.0.1', port: 0 } : newSocketPath(t)) => hostAt(t, transport.serve(identity, { dispatch }), at),
    link(t, to, identity = identityOf({ offers: [] })) {
      const link = transport.link(identity, to);
      t.after(() => link.stop(0));
      void link.start();
      return link;
    },
    async openLink(t, to, identity) {
      const link = under.link(t, to, identity);
      await linkState(link, 'open');
      return link;
    },
  };
  return under;
}

async function hostAt(t: Test, server: Server<any>, at: Place): Promise<Host> {
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    server.accept(socket);
  });
  await once('socketPath' in at ? listener.listen(at.socketPath) : listener.listen(at.port, at.host), 'listening');
  const stopListening = async (): Promise<void> => {
    if (listener.listening) listener.close();
  };
  const kill = async (): Promise<void> => {
    const closed = listener.listening ? once(listener, 'close') : undefined;
    await stopListening();
    for (const socket of sockets) socket.destroy();
    await closed;
    await server.stop(0);
  };
  t.after(kill);
  const address: PeerAddress = { at: 'socketPath' in at ? at : { host: at.host, port: (listener.address() as AddressInfo).port } };
  return { address, server, sockets, stopListening, kill };
}

function newSocketPath(t: Test): Place {
  const folder = mkdtempSync(join(tmpdir(), 'transport-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return { socketPath: join(folder, 'socket') };
}
