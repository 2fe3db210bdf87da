import assert from 'node:assert/strict';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { MessageChannel, Worker } from 'node:worker_threads';
import { PortStream } from '../../../../../adapters/transport/thread/port-stream.ts';

function pair(): [PortStream, PortStream] {
  const { port1, port2 } = new MessageChannel();
  return [new PortStream(port1), new PortStream(port2)];
}

test('bytes arrive as they were written, however they were written', { timeout: 20_000 }, async () => {
  const [here, there] = pair();
  const slab = Buffer.from('0123456789'.repeat(100));
  here.write(slab.subarray(10, 15));
  here.cork();
  here.write(slab.subarray(0, 3));
  here.write(Buffer.alloc(300_000, 7));
  here.uncork();
  // What was written may be written over at once.
  slab.fill('x');
  here.end('the end');
  const arrived = await buffer(there);
  assert.equal(arrived.length, 5 + 3 + 300_000 + 7);
  assert.equal(`${arrived.subarray(0, 8)}${arrived.subarray(-7)}`, '01234012the end');
});

test('a part of a large buffer does not take the rest of it along', { timeout: 20_000 }, async () => {
  const [here, there] = pair();
  here.write(Buffer.alloc(1_000_000).subarray(0, 10));
  const [chunk] = (await once(there, 'data')) as [Buffer];
  assert.equal(chunk.buffer.byteLength, 10);
  here.destroy();
  await once(there, 'close');
});

test('what is written together crosses in one message', { timeout: 20_000 }, async () => {
  const { port1, port2 } = new MessageChannel();
  const here = new PortStream(port1);
  here.cork();
  for (const word of ['one', 'two', 'three']) here.write(word);
  here.uncork();
  const [{ chunks }] = (await once(port2, 'message')) as [{ chunks: ArrayBuffer[] }];
  assert.deepEqual(chunks.map((part) => Buffer.from(part).toString()), ['one', 'two', 'three']);
  here.destroy();
});

test('whoever reads late is told when it was written', { timeout: 20_000 }, async () => {
  const [here, there] = pair();
  const before = Date.now();
  here.write('now');
  const after = Date.now();
  for (const until = Date.now() + 50; Date.now() < until; );
  await once(there, 'data');
  assert.ok(there.writtenAt >= before && there.writtenAt <= after, `${there.writtenAt - before}`);
  here.destroy();
  await once(there, 'close');
});

test('a stream ends with the thread at its other end, even one that is blocked', { timeout: 20_000 }, async () => {
  const { port1, port2 } = new MessageChannel();
  const stream = new PortStream(port1);
  const blocked = "require('node:worker_threads').workerData.on('message', () => { for (;;); })";
  const worker = new Worker(blocked, { eval: true, workerData: port2, transferList: [port2] });
  await once(worker, 'online');
  stream.resume().write('go');
  const closed = once(stream, 'close');
  await worker.terminate();
  await closed;
  assert.ok(stream.destroyed);
});
