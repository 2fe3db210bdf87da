import { once } from 'node:events';
import { createServer } from 'node:net';
import { rpc } from '../../../dist/adapters/transport/rpc/transport.js';
import { newTrace } from '../../../dist/src/kernel/call.js';
import { newId } from '../../../dist/src/kernel/ids.js';
import { caller, server, VALUE } from './rpc-drive.mjs';

/* The transport alone: from Link.send to a dispatcher that echoes. */
const identity = { introduction: { host: 'bench', process: String(process.pid), contracts: {} }, offers: [], secret: 'bench' };

await server(async () => {
  const serving = rpc.serve(identity, { dispatch: async ({ request }) => ({ value: request }) });
  const listener = createServer((socket) => serving.accept(socket));
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  return listener.address().port;
});

await caller(import.meta.url, async (port) => {
  const link = rpc.link(identity, { at: { host: '127.0.0.1', port } });
  const open = new Promise((resolve) => (link.onChange = () => link.state === 'open' && resolve()));
  await link.start();
  await open;
  // What stands for a call is made once per request of a user, above the transport.
  const calls = Array.from({ length: 1_024 }, () => ({ contract: 'bench', method: 'echo', request: VALUE, id: newId(), workspace: 'w-0123456789', actor: { kind: 'user', id: newId() }, trace: newTrace(), idempotencyKey: undefined, deadline: Date.now() + 3_600_000 }));
  let next = 0;
  return () => new Promise((succeed, fail) => link.send(calls[next++ % calls.length], { succeed, fail }));
});
