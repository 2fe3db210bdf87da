import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Frames } from '../../../../../adapters/registry/zookeeper/frames.ts';

function packet(text: string): Buffer {
  const head = Buffer.alloc(4);
  head.writeInt32BE(text.length);
  return Buffer.concat([head, Buffer.from(text)]);
}

const texts = ['', 'a', 'hello', 'x'.repeat(300), '', 'last'];
const stream = Buffer.concat(texts.map(packet));

test('gives each packet whole, with its length, wherever the chunks end', () => {
  for (let size = 1; size <= stream.length; size++) {
    const frames = new Frames();
    const taken: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size) for (const frame of frames.take(stream.subarray(at, at + size))) taken.push(Buffer.from(frame));
    assert.deepEqual(taken, texts.map(packet), `in chunks of ${size} bytes`);
  }
});

test('takes a long packet in small chunks in no time', () => {
  const frames = new Frames();
  const long = packet('x'.repeat(4 * 1024 * 1024));
  let taken = 0;
  const began = performance.now();
  for (let at = 0; at < long.length; at += 100) for (const frame of frames.take(long.subarray(at, at + 100))) taken += frame.length;
  assert.equal(taken, long.length);
  assert.ok(performance.now() - began < 1_000);
});

test('throws at a length that cannot be, as soon as it is known', () => {
  for (const length of [-1, -(2 ** 31), 4 * 1024 * 1024 + 1, 2 ** 31 - 1]) {
    const head = Buffer.alloc(4);
    head.writeInt32BE(length);
    assert.throws(() => [...new Frames().take(head)], RangeError);
  }
});
