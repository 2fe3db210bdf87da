import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { newRing, RingReader, RingWriter } from '../../../../../adapters/transport/thread/byte-ring.ts';

const seed = Number(process.env.MULTILITH_SEED ?? Date.now() % 2 ** 31);

/** Both ends of a ring in which so many bytes were written and read before. */
function ends(bytes: number, before = 0): [RingWriter, RingReader] {
  const memory = newRing(bytes);
  const counters = new Int32Array(memory);
  counters[0] = counters[16] = before;
  return [new RingWriter(memory), new RingReader(memory)];
}

/** Reads one piece. */
function take(reader: RingReader): Buffer {
  const piece = Buffer.from(reader.next()!);
  reader.release();
  return piece;
}

function takeAll(reader: RingReader): Buffer {
  const pieces: Buffer[] = [];
  while (reader.next() !== undefined) pieces.push(take(reader));
  return Buffer.concat(pieces);
}

test('what is read is what was written, at every offset, also where the counters wrap', (t) => {
  t.diagnostic(`seed ${seed}`);
  const offset = fc.oneof(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 2 ** 27 - 16, max: 2 ** 27 + 15 }), fc.integer({ min: 2 ** 28 - 16, max: 2 ** 28 - 1 }));
  const steps = fc.array(fc.oneof(fc.record({ write: fc.integer({ min: 0, max: 300 }) }), fc.record({ read: fc.integer({ min: 1, max: 4 }) })), { maxLength: 60 });
  fc.assert(
    fc.property(fc.constantFrom(32, 64, 128, 256), offset, steps, (size, pieces, list) => {
      const [writer, reader] = ends(size, (pieces * 16) | 0);
      let [written, read] = [0, 0];
      const requireNext = (bytes: Buffer): void => bytes.forEach((byte) => assert.equal(byte, read++ & 0xff));
      for (const step of list) {
        if ('write' in step) {
          const chunk = Buffer.from(Array.from({ length: step.write }, (_, i) => (written + i) & 0xff));
          const taken = writer.write(chunk, written);
          // Once read empty, some fits.
          assert.ok(taken > 0 || step.write === 0 || reader.next() !== undefined);
          written += taken;
          chunk.fill(0);
        } else for (let i = 0; i < step.read && reader.next() !== undefined; i++) requireNext(take(reader));
      }
      requireNext(takeAll(reader));
      assert.equal(read, written);
    }),
    { seed, numRuns: 3_000 },
  );
});

test('a full ring takes what there is room for, and the rest when some was read', () => {
  const [writer, reader] = ends(64);
  const chunk = Buffer.from('0123456789'.repeat(10));
  const first = writer.write(chunk, 1);
  assert.equal(first, 48);
  assert.equal(writer.write(chunk, 1), 0);
  assert.equal(take(reader).length, 48);
  assert.equal(writer.write(chunk.subarray(first), 2), 48);
  assert.deepEqual([take(reader).toString(), reader.writtenAt], [chunk.subarray(48, 96).toString(), 2]);
});

test('a reader is woken once for what comes while it sleeps, and does not fall asleep over what came before', () => {
  const [writer, reader] = ends(64);
  writer.write(Buffer.from('a'), 0);
  assert.deepEqual([writer.wakesReader(), reader.sleep()], [false, false]);
  takeAll(reader);
  assert.deepEqual([reader.sleep(), writer.write(Buffer.from('b'), 0), writer.wakesReader(), writer.wakesReader()], [true, 1, true, false]);
  takeAll(reader);
  writer.end();
  assert.deepEqual([reader.sleep(), reader.isAtEnd], [false, true]);
});

test('a writer is told once of room that it waits for, and does not wait for room that there is', () => {
  const [writer, reader] = ends(64);
  writer.write(Buffer.alloc(48), 0);
  assert.deepEqual([writer.awaitRoom(), reader.wakesWriter(), reader.wakesWriter()], [true, true, false]);
  writer.write(Buffer.alloc(1), 0);
  take(reader);
  assert.deepEqual([writer.awaitRoom(), reader.wakesWriter()], [false, false]);
});

test('what was not finished when its writer died is not there', () => {
  const memory = newRing(64);
  const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
  writer.write(Buffer.from('whole'), 0);
  // As a thread that ends within `write` leaves it: bytes, and no word of them.
  new Uint8Array(memory).fill(0xff, memory.byteLength - 32);
  assert.equal(takeAll(reader).toString(), 'whole');
  writer.end();
  assert.ok(reader.isAtEnd);
});
