import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { RingReader } from '../../../../../adapters/transport/thread/byte-ring.ts';
import { newStreamEnds, ThreadStream } from '../../../../../adapters/transport/thread/thread-stream.ts';

const MODULE = new URL('../../../../../adapters/transport/thread/thread-stream.js', import.meta.url).href;
const MB = 1024 * 1024;

function pair(): [ThreadStream, ThreadStream] {
  const [here, there] = newStreamEnds();
  return [new ThreadStream(here), new ThreadStream(there)];
}

/** A stream to a thread that runs `code`, with `stream` and `gate`, a word of memory that both see. */
function streamTo(code: string): { stream: ThreadStream; worker: Worker; gate: Int32Array } {
  const [here, there] = newStreamEnds();
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const start = `const { module, end, gate } = require('node:worker_threads').workerData; import(module).then(({ ThreadStream }) => { const stream = new ThreadStream(end); ${code} });`;
  const worker = new Worker(start, { eval: true, workerData: { module: MODULE, end: there, gate }, transferList: [there.port] });
  return { stream: new ThreadStream(here), worker, gate };
}

function open(gate: Int32Array): void {
  Atomics.store(gate, 0, 1);
  Atomics.notify(gate, 0);
}

test('bytes arrive as they were written, however they were written', { timeout: 20_000 }, async () => {
  const [here, there] = pair();
  const slab = Buffer.from('0123456789'.repeat(100));
  here.write(slab.subarray(10, 15));
  here.cork();
  here.write(slab.subarray(0, 3));
  here.write(Buffer.alloc(300_000, 7));
  here.uncork();
  // What the stream has taken may be written over at once.
  slab.fill('x');
  here.end('the end');
  const arrived = await buffer(there);
  assert.equal(arrived.length, 5 + 3 + 300_000 + 7);
  assert.equal(`${arrived.subarray(0, 8)}${arrived.subarray(-7)}`, '01234012the end');
});

test('more than the ring holds crosses to a slow reader and comes back whole', { timeout: 20_000 }, async () => {
  const { stream, worker } = streamTo(`stream.on('data', (chunk) => { stream.pause(); setImmediate(() => stream.resume()); stream.write(Buffer.from(chunk)); })`);
  const sent = randomBytes(2 * MB);
  stream.write(sent);
  const back: Buffer[] = [];
  let left = sent.length;
  await new Promise<void>((resolve) => stream.on('data', (chunk: Buffer) => (back.push(Buffer.from(chunk)), (left -= chunk.length) === 0 && resolve())));
  assert.ok(Buffer.concat(back).equals(sent));
  stream.destroy();
  await once(worker, 'exit');
});

test('a peer that is blocked holds up who writes, without work for it, until it reads', { timeout: 20_000 }, async () => {
  const { stream, worker, gate } = streamTo(`Atomics.wait(gate, 0, 0); let bytes = 0; stream.on('data', (chunk) => { bytes += chunk.length; if (bytes === ${MB}) stream.write('all'); })`);
  let isTaken = false;
  stream.write(Buffer.alloc(MB), () => (isTaken = true));
  const before = performance.eventLoopUtilization();
  await new Promise((resolve) => setTimeout(resolve, 200));
  const { utilization } = performance.eventLoopUtilization(before);
  assert.deepEqual([isTaken, stream.writableLength], [false, MB]);
  assert.ok(utilization < 0.5, `${utilization}`);
  open(gate);
  await once(stream, 'data');
  assert.ok(isTaken);
  stream.destroy();
  await once(worker, 'exit');
});

test('whoever pauses is given a bounded part, and the rest when it goes on', { timeout: 20_000 }, async () => {
  const [here, there] = pair();
  here.end(Buffer.alloc(6 * MB));
  while (there.readableLength < 4 * MB) await new Promise(setImmediate);
  assert.ok(here.writableLength > MB);
  assert.equal((await buffer(there)).length, 6 * MB);
});

test('a reader is rung for when it sleeps, and once', { timeout: 20_000 }, async () => {
  const [here, there] = newStreamEnds();
  const reader = new RingReader(there.inbound);
  const stream = new ThreadStream(here);
  let rung = 0;
  there.port.on('message', () => rung++);
  stream.write('to a reader that has not slept yet');
  while (reader.next() !== undefined) reader.release();
  assert.ok(reader.sleep());
  for (const word of ['one', 'two', 'three']) stream.write(word);
  stream.destroy();
  await once(there.port, 'close');
  assert.equal(rung, 1);
});

test('whoever reads late is told when it was written, also of what had to wait for room', { timeout: 20_000 }, async () => {
  const [here, there] = pair();
  here.write(Buffer.alloc(MB));
  const before = Date.now();
  here.write('now');
  const after = Date.now();
  for (const until = Date.now() + 50; Date.now() < until; );
  let bytes = 0;
  await new Promise<void>((resolve) => there.on('data', (chunk: Buffer) => (bytes += chunk.length) === MB + 3 && resolve()));
  assert.ok(there.writtenAt >= before && there.writtenAt <= after, `${there.writtenAt - before}`);
  here.destroy();
  await once(there, 'close');
});

test('what was under way when an end closed is read, and then the stream ends', { timeout: 20_000 }, async () => {
  const [here, there] = pair();
  // Read in several turns.
  for (let i = 0; i < 20; i++) here.write(Buffer.alloc(10_000));
  here.destroy();
  assert.equal((await buffer(there)).length, 200_000);
});

test('a stream ends with the thread at its other end, even one that is blocked', { timeout: 20_000 }, async () => {
  const { stream, worker } = streamTo(`stream.on('data', () => { for (;;); })`);
  await once(worker, 'online');
  stream.resume().write(Buffer.alloc(MB));
  const closed = once(stream, 'close');
  await worker.terminate();
  await closed;
  assert.ok(stream.destroyed);
});

test('of a thread that is ended while it writes, a beginning arrives, and the end', { timeout: 20_000 }, async () => {
  const { stream, worker } = streamTo(`const numbers = new Int32Array(25_000); let next = 0; const more = () => { numbers.forEach((_, i) => (numbers[i] = next++)); stream.write(Buffer.from(numbers.buffer.slice(0)), more); }; more();`);
  const arrived: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => arrived.push(Buffer.from(chunk)));
  while (arrived.length < 20) await once(stream, 'data');
  const closed = once(stream, 'close');
  await worker.terminate();
  await closed;
  const bytes = Buffer.concat(arrived);
  for (let at = 0; at + 4 <= bytes.length; at += 4) if (bytes.readInt32LE(at) !== at / 4) assert.fail(`${bytes.readInt32LE(at)} at ${at}`);
});
