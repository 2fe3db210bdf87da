import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameReader } from '../../../../../adapters/transport/rpc/frame-reader.ts';
import { HEADER_BYTES, KIND_MESSAGES_AFRESH, PREAMBLE, WireError } from '../../../../../adapters/transport/rpc/frames.ts';
import { Incoming } from '../../../../../adapters/transport/rpc/incoming.ts';
import { ANSWER, type Message } from '../../../../../adapters/transport/rpc/messages.ts';
import { Outgoing } from '../../../../../adapters/transport/rpc/outgoing.ts';
import { type Random, seeded } from '../../../../support/seed.ts';

const LIMIT = 1024 * 1024;
const VALUES = [{ a: 1, list: [{ name: 'one' }, { name: 'two' }] }, { a: 2, list: [] }, 'x'.repeat(500), { b: 'é'.repeat(50), nested: { a: 3, list: [{ name: 'three' }] } }];

/** The frames of some answers, and the messages that come of them. */
function conversation(): { readonly bytes: Buffer; readonly messages: readonly Message[] } {
  const out = new Outgoing(LIMIT, 0);
  const frames = VALUES.flatMap((value, number) => {
    out.answer(number, value);
    return out.take();
  });
  return { bytes: Buffer.concat(frames), messages: VALUES.map((value, number) => [ANSWER, number, value]) };
}

/** What a reader makes of pieces, until it refuses. */
function read(pieces: Iterable<Buffer>, limit = LIMIT): { readonly messages: readonly Message[]; readonly refused: boolean } {
  const messages: Message[] = [];
  const incoming = new Incoming();
  const reader = new FrameReader(limit, false, (body) => {
    incoming.read(body, (message) => messages.push(message));
    return true;
  });
  try {
    for (const piece of pieces) reader.push(piece);
    return { messages, refused: false };
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return { messages, refused: true };
  }
}

function piecesOf(bytes: Buffer, random: Random): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + random.whole(40);
    pieces.push(bytes.subarray(at, end));
    at = end;
  }
  return pieces;
}

test('frames are read whole, cut at any byte, and in pieces of any size', (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const { bytes, messages } = conversation();
  for (let at = 0; at <= bytes.length; at++) assert.deepEqual(read([bytes.subarray(0, at), bytes.subarray(at)]).messages, messages);
  for (let round = 0; round < 200; round++) assert.deepEqual(read(piecesOf(bytes, random)).messages, messages);
  assert.deepEqual(read(Array.from(bytes, (byte) => Buffer.from([byte]))).messages, messages);
});

test('a conversation that ends anywhere gives what was whole, and nothing else', () => {
  const { bytes, messages } = conversation();
  for (let at = 0; at < bytes.length; at++) {
    const found = read([bytes.subarray(0, at)]);
    assert.equal(found.refused, false);
    assert.deepEqual(found.messages, messages.slice(0, found.messages.length));
    assert.ok(found.messages.length < messages.length);
  }
});

test('every flipped bit is noticed before it becomes a message', () => {
  const { bytes, messages } = conversation();
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    const found = read([changed]);
    assert.equal(found.refused, true, `bit ${bit}`);
    assert.deepEqual(found.messages, messages.slice(0, found.messages.length));
  }
});

test('bytes that are changed, repeated, lost or put in never make another message', (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const { bytes, messages } = conversation();
  for (let round = 0; round < 20_000; round++) {
    const at = random.whole(bytes.length);
    const length = 1 + random.whole(80);
    const piece = [Buffer.alloc(0), bytes.subarray(at, at + length), Buffer.from(Array.from({ length }, () => random.whole(256)))][random.whole(3)]!;
    const changed = Buffer.concat([bytes.subarray(0, at + (random.whole(2) === 0 ? 0 : length)), piece, bytes.subarray(at + length)]);
    const found = read(piecesOf(changed, random));
    assert.deepEqual(found.messages, messages.slice(0, found.messages.length));
  }
});

test('a frame that is repeated or left out is noticed', () => {
  const out = new Outgoing(LIMIT, 0);
  const frames = [1, 2, 3].map((number) => {
    out.answer(number, number);
    return out.take()[0]!;
  });
  assert.deepEqual([read([frames[0]!, frames[0]!, frames[1]!]), read([frames[0]!, frames[2]!])].map(({ messages, refused }) => [messages.length, refused]), [[1, true], [1, true]]);
});

test('where objects have ever other keys, records are forgotten, and those in use then get theirs', () => {
  const out = new Outgoing(LIMIT, 0);
  const frames: Buffer[] = [];
  const values: unknown[] = [];
  const write = (value: unknown): number => {
    values.push(value);
    out.answer(1, value);
    const taken = out.take().map((frame) => Buffer.from(frame));
    frames.push(...taken);
    return Buffer.concat(taken).length;
  };
  const lasting = { aKeyThatIsLongEnoughToTell: 1, anotherOneOfTheSameKind: 2 };
  for (let n = 0; n < 100; n++) write({ [`key${n}`]: n });
  const without = write(lasting);
  for (let n = 100; n < 1_500; n++) write([{ [`key${n}`]: n }, lasting]);
  assert.ok(write(lasting) < without / 2);
  assert.ok(frames.some((frame) => frame[HEADER_BYTES] === KIND_MESSAGES_AFRESH));
  assert.deepEqual(read(frames), { messages: values.map((value) => [ANSWER, 1, value]), refused: false });
});

test('noise is refused, and what it promises is not waited for or kept room for', (t) => {
  const random = seeded((line) => t.diagnostic(line));
  for (let round = 0; round < 5_000; round++) {
    const noise = Buffer.from(Array.from({ length: HEADER_BYTES + random.whole(200) }, () => random.whole(256)));
    assert.deepEqual(read(piecesOf(noise, random)), { messages: [], refused: true });
  }
});

test('a frame longer than the limit is refused by its header alone', () => {
  const out = new Outgoing(LIMIT * 16, 0);
  out.answer(1, 'x'.repeat(LIMIT));
  const [frame] = out.take();
  assert.deepEqual(read([frame!.subarray(0, HEADER_BYTES)]), { messages: [], refused: true });
  assert.deepEqual(read([frame!], LIMIT * 2).messages.length, 1);
});

test('whoever does not begin as this protocol does is refused at the first wrong byte', () => {
  for (let at = 0; at < PREAMBLE.length; at++) {
    const reader = new FrameReader(LIMIT, true, () => true);
    reader.push(PREAMBLE.subarray(0, at));
    assert.throws(() => reader.push(Buffer.from([PREAMBLE[at]! ^ 1])), WireError);
  }
});

test('messages that no writer of ours would write are refused, not believed', (t) => {
  const random = seeded((line) => t.diagnostic(line));
  for (let round = 0; round < 20_000; round++) {
    const body = Buffer.from([2, ...Array.from({ length: random.whole(60) }, () => random.whole(256))]);
    try {
      new Incoming().read(body, () => {});
    } catch (error) {
      assert.ok(error instanceof WireError, String(error));
    }
  }
});
