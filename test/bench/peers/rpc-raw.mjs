import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { Packr, Unpackr } from 'msgpackr';
import { caller, server } from './rpc-drive.mjs';

/*
 * The limit: a socket, length-prefixed frames, msgpackr with shared records, writes corked per tick. Nothing else: no
 * faults, deadlines, cancelling, bounds or checks.
 */
function framed(socket, receive) {
  const packr = new Packr({ sequential: true });
  const unpackr = new Unpackr({ sequential: true });
  let rest;
  let corked = false;
  socket.setNoDelay(true);
  socket.on('data', (chunk) => {
    const bytes = rest ? Buffer.concat([rest, chunk]) : chunk;
    let at = 0;
    while (bytes.length - at >= 4) {
      const end = at + 4 + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      receive(unpackr.unpack(bytes.subarray(at + 4, end)));
      at = end;
    }
    rest = at < bytes.length ? bytes.subarray(at) : undefined;
  });
  const uncork = () => {
    corked = false;
    socket.uncork();
  };
  return (message) => {
    if (!corked) {
      corked = true;
      socket.cork();
      process.nextTick(uncork);
    }
    // Room for the length, which is known only afterwards, in the same piece of memory.
    const bytes = packr.pack(message, RESERVE + 4);
    bytes.writeUInt32BE(bytes.length - 4, 0);
    socket.write(bytes);
  };
}
const RESERVE = 2048;

await server(async () => {
  const listener = createServer((socket) => {
    const send = framed(socket, async ({ id, value }) => send({ id, value: await echo(value) }));
  });
  const echo = async (value) => value;
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  return listener.address().port;
});

await caller(import.meta.url, async (port) => {
  const socket = connect(port, '127.0.0.1');
  const waiting = new Map();
  let id = 0;
  const send = framed(socket, (message) => {
    waiting.get(message.id)(message.value);
    waiting.delete(message.id);
  });
  await once(socket, 'connect');
  return (value) =>
    new Promise((resolve) => {
      waiting.set(++id, resolve);
      send({ id, value });
    });
});
