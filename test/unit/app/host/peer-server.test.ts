import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { streamTransports } from '../../../../adapters/transport/catalog.ts';
import { PeerServer } from '../../../../src/app/host/peer-server.ts';
import type { Log } from '../../../../src/kernel/telemetry.ts';
import type { Server, StreamTransport, TlsMaterial } from '../../../../src/ports/transport.ts';
import { newAuthority } from '../../../support/certificates.ts';
import { silentLog } from '../../../support/context.ts';

/** Says back what it is told, to those who begin with RPC1. */
function echo(): { transport: StreamTransport; server: Server<Duplex> } {
  const open = new Set<Duplex>();
  const server: Server<Duplex> = {
    accept: (connection) => void open.add(connection.on('data', (chunk) => connection.write(chunk)).on('error', () => {})),
    stop: async () => open.forEach((connection) => connection.destroy()),
    get connections() {
      return open.size;
    },
  };
  return { server, transport: { recognises: (beginning) => Buffer.from(beginning).toString().startsWith('RPC1') } as StreamTransport };
}

async function listening(t: TestContext) {
  const server = new PeerServer('app', { host: '127.0.0.1', port: 0 }, undefined, [echo()], silentLog);
  await server.start();
  t.after(() => server.stop(1_000));
  const client = connect(server.address.port).on('error', () => {});
  t.after(() => client.destroy());
  await once(client, 'connect');
  return { server, client: client.setNoDelay(true) };
}

test('a stranger who sends less than tells what it speaks costs nothing while it is waited for, and holds up no stop', async (t) => {
  const { server, client } = await listening(t);
  const before = process.threadCpuUsage();
  client.write('R');
  await new Promise((resolve) => setTimeout(resolve, 200));
  const { user, system } = process.threadCpuUsage(before);
  assert.ok(user + system < 100_000, `${user + system} µs`);
  const began = performance.now();
  await server.stop(1_000);
  assert.ok(performance.now() - began < 2_000, `${performance.now() - began} ms`);
});

test('a beginning that comes byte by byte reaches its transport whole', async (t) => {
  const { client } = await listening(t);
  for (const byte of 'RPC1') {
    client.write(byte);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  client.write('hello');
  let told = '';
  for await (const chunk of client) if ((told += String(chunk)).length === 9) break;
  assert.equal(told, 'RPC1hello');
});

/** What a server of this kind has said, and a way to reach it. */
async function serving(t: TestContext, tls: TlsMaterial | undefined, spoken: { transport: StreamTransport; server: Server<Duplex> }) {
  const lines: { fields: Record<string, unknown>; message: string }[] = [];
  const log: Log = { ...silentLog, warn: (fields, message) => void lines.push({ fields: fields as Record<string, unknown>, message: message! }) };
  const server = new PeerServer('app', { host: '127.0.0.1', port: 0 }, tls, [spoken], log);
  await server.start();
  t.after(() => server.stop(1_000));
  return { port: server.address.port, lines };
}

async function dial(t: TestContext, port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => {});
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

for (const kind of ['TCP', 'TLS']) {
  test(`strangers who say nothing over ${kind} push out the oldest of their kind, and nobody who is known`, { timeout: 20_000 }, async (t) => {
    const tls = kind === 'TLS' ? newAuthority(t)('app', '127.0.0.1') : undefined;
    const { port } = await serving(t, tls, echo());
    const known = tls === undefined ? await dial(t, port) : connectTls({ port, host: '127.0.0.1', ...tls });
    t.after(() => known.destroy());
    known.write('RPC1');
    await once(known, 'data');
    const closed: number[] = [];
    const began = performance.now();
    for (let n = 0; n < 260; n++) (await dial(t, port)).resume().once('close', () => void closed.push(n));
    while (closed.length < 4) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(closed.toSorted((a, b) => a - b), [0, 1, 2, 3]);
    assert.ok(performance.now() - began < 4_500, 'before their time is over');
    known.write('still');
    const [said] = await once(known, 'data');
    assert.equal(String(said), 'still');
  });
}

test('a hundred strangers without a certificate are one line in the log, one who only looks whether the port is open is none', { timeout: 20_000 }, async (t) => {
  const { port, lines } = await serving(t, newAuthority(t)('app', '127.0.0.1'), echo());
  (await dial(t, port)).end();
  for (let n = 0; n < 100; n++) {
    const socket = await dial(t, port);
    socket.resume().write('GET / HTTP/1.1\r\n\r\n');
    await once(socket, 'close');
  }
  assert.deepEqual(lines.map(({ fields: { connections } }) => connections), [1]);
});

for (const transport of ['rpc', 'http'] as const) {
  test(`a caller with another secret over ${transport} is one line in the log, which says so and nothing of the secrets`, { timeout: 20_000 }, async (t) => {
    const spoken: StreamTransport = streamTransports[transport];
    const identity = (secret: string) => ({ introduction: { host: 'app', process: 'p', contracts: {} }, offers: [], secret });
    const [ours, theirs] = ['a'.repeat(32), 'b'.repeat(32)];
    const { port, lines } = await serving(t, undefined, { transport: spoken, server: spoken.serve(identity(ours), { dispatch: async () => ({ value: null }) }) });
    const links = [1, 2, 3].map(() => spoken.link(identity(theirs), { at: { host: '127.0.0.1', port } }));
    for (const link of links) {
      t.after(() => link.stop(100));
      await link.start();
      while (!link.problem?.includes('secret')) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(lines.map(({ fields: { from, connections } }) => [from, connections]), [['127.0.0.1', 1]]);
    assert.match(String(lines[0]!.fields.problem), /secret/);
    assert.ok(!/aaaa|bbbb/.test(JSON.stringify(lines)));
  });
}

test('a stranger over http is told why before its connection is closed', { timeout: 20_000 }, async (t) => {
  const { http } = streamTransports;
  const identity = { introduction: { host: 'app', process: 'p', contracts: {} }, offers: [], secret: 'a'.repeat(32) };
  const { port, lines } = await serving(t, undefined, { transport: http, server: http.serve(identity, { dispatch: async () => ({ value: null }) }) });
  const socket = await dial(t, port);
  let answer = '';
  socket.on('data', (chunk) => (answer += String(chunk))).write('GET /contract HTTP/1.1\r\nhost: x\r\n\r\n');
  await once(socket, 'close');
  assert.match(answer, /^HTTP\/1\.1 401 [^]*connection: close[^]*"reason":"secret_required"[^]*\}/i);
  while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.match(String(lines[0]!.fields.problem), /not shown the secret/);
});
