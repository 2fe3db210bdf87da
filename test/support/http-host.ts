import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { TestContext as Test } from 'node:test';
import { httpTransport } from '../../adapters/transport/http/transport.ts';
import type { HttpSettings } from '../../adapters/transport/http/settings.ts';
import { newTrace } from '../../src/kernel/call.ts';
import type { Fault } from '../../src/kernel/fault.ts';
import { newId } from '../../src/kernel/ids.ts';
import type { Answer, ArrivedCall, Dispatcher, Identity, Link, PeerAddress, RemoteCall, Server } from '../../src/ports/transport.ts';

export const SECRET = 'a secret that both hosts know';

export function identityOf(change: Partial<Identity> = {}): Identity {
  return {
    introduction: { host: 'callee', process: newId(), contracts: { echo: 'f00d' } },
    offers: [{ name: 'echo', hash: 'f00d', operations: { say: { kind: 'query', input: { type: 'object' }, output: { type: 'object' } } } }],
    secret: SECRET,
    ...change,
  };
}

export interface HttpHost {
  readonly port: number;
  readonly url: string;
  readonly address: PeerAddress;
  readonly server: Server<any>;
  /** Connections as they were accepted. */
  readonly sockets: Set<Socket>;
  /** Like a process that is killed: nothing is answered any more, and the port is free. */
  kill(): Promise<void>;
}

/** A host that serves calls over HTTP on a TCP port, until the end of the test. */
export async function httpHost(t: Test, dispatch: Dispatcher['dispatch'], identity = identityOf(), port = 0, settings: Partial<HttpSettings> = {}): Promise<HttpHost> {
  const server = httpTransport(settings).serve(identity, { dispatch });
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    server.accept(socket);
  });
  await once(listener.listen(port, '127.0.0.1'), 'listening');
  const kill = async (): Promise<void> => {
    const closed = new Promise((resolve) => listener.close(resolve));
    for (const socket of sockets) socket.resetAndDestroy();
    await closed;
    await server.stop(0);
  };
  t.after(kill);
  const found = (listener.address() as AddressInfo).port;
  return { port: found, url: `http://127.0.0.1:${found}`, address: { at: { host: '127.0.0.1', port: found } }, server, sockets, kill };
}

/** A link that is open, until the end of the test. */
export async function openLink(t: Test, to: PeerAddress, batches = true): Promise<Link> {
  const link = startedLink(t, to, batches);
  await linkState(link, 'open');
  return link;
}

export function startedLink(t: Test, to: PeerAddress, batches = true, identity = identityOf({ offers: [] })): Link {
  const link = httpTransport({ batches }).link(identity, to);
  t.after(() => link.stop(0));
  void link.start();
  return link;
}

/** Resolves once the link has this state. */
export async function linkState(link: Link, state: Link['state'], withinMs = 30_000): Promise<void> {
  if (link.state === state) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const before = link.onChange;
  const timer = setTimeout(() => reject(new Error(`after ${withinMs} ms the link is ${link.state}: ${link.problem}`)), withinMs);
  link.onChange = () => {
    before?.();
    if (link.state === state) resolve();
  };
  await promise.finally(() => {
    clearTimeout(timer);
    link.onChange = before;
  });
}

export function callOf(request: unknown, change: Partial<RemoteCall> = {}): RemoteCall {
  return { contract: 'echo', method: 'say', request, id: newId(), workspace: 'w1', actor: { kind: 'user', id: 'u1' }, trace: newTrace(), idempotencyKey: undefined, deadline: Date.now() + 10_000, ...change };
}

/** Resolves with the value, or rejects with the fault. */
export function ask(link: Link, call: RemoteCall): Promise<unknown> {
  return new Promise((resolve, reject) => void link.send(call, { succeed: resolve, fail: reject }));
}

/** The fault that a call ends with. */
export async function faultOf(answer: Promise<unknown>): Promise<Fault> {
  return answer.then(
    (value) => {
      throw new Error(`answered with ${JSON.stringify(value)}`);
    },
    (fault: Fault) => fault,
  );
}

/** Answers every call with its request. */
export const echo: Dispatcher['dispatch'] = async ({ request }) => ({ value: request });

/** Calls that wait until the test answers them. */
export class Held {
  readonly calls: { readonly call: ArrivedCall; readonly answer: (answer: Answer) => void }[] = [];
  #waiting: (() => void)[] = [];

  dispatch: Dispatcher['dispatch'] = (call) => {
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.calls.push({ call, answer: resolve });
    for (const wake of this.#waiting.splice(0)) wake();
    return promise;
  };

  async count(count: number): Promise<void> {
    while (this.calls.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}
