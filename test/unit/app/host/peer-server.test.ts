import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { PeerServer } from '../../../../src/app/host/peer-server.ts';
import type { Server, StreamTransport } from '../../../../src/ports/transport.ts';
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
  return client.setNoDelay(true);
}

test('a stranger who sends less than tells what it speaks costs nothing while it is waited for', async (t) => {
  const client = await listening(t);
  const before = process.threadCpuUsage();
  client.write('R');
  await new Promise((resolve) => setTimeout(resolve, 200));
  const { user, system } = process.threadCpuUsage(before);
  assert.ok(user + system < 100_000, `${user + system} µs`);
});

test('a beginning that comes byte by byte reaches its transport whole', async (t) => {
  const client = await listening(t);
  for (const byte of 'RPC1') {
    client.write(byte);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  client.write('hello');
  let told = '';
  for await (const chunk of client) if ((told += String(chunk)).length === 9) break;
  assert.equal(told, 'RPC1hello');
});
