import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';
import { type Deadline, deadlines } from '../../../src/kernel/deadline.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Reading, readRequest } from '../reading.ts';
import type { Hold } from './in-flight.ts';

/** Of the body, as it comes and as it is unpacked. */
export const MOST_BATCH_BYTES = 512_000;
/** What a refused request may still send before its connection is cut; read and thrown away, so that it hears why. */
const MOST_DISCARDED_BYTES = 8_388_608;

const UNPACKERS: Readonly<Record<string, (packed: Buffer, options: { maxOutputLength: number }) => Buffer>> = {
  gzip: gunzipSync,
  'x-gzip': gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
};

/** Reads at most MOST_BATCH_BYTES, every byte of it counted in `hold`. */
export function readBatch(request: IncomingMessage, hold: Hold): Reading {
  return readRequest(request, (bytes, piece) => (bytes > MOST_BATCH_BYTES ? tooLarge() : hold.take(piece) ? undefined : overloaded()));
}

/** The text of a body, and its length. Faults: `invalid` for what cannot be unpacked or is not UTF-8, `exhausted`. */
export function textOf(body: Buffer, encoding: string | undefined, hold: Hold): { text: string; bytes: number } {
  const plain = encoding === undefined || encoding === '' || encoding === 'identity' ? body : unpack(body, encoding, hold);
  if (!isUtf8(plain)) throw new Fault('invalid', 'The body is not UTF-8.', { reason: 'body_not_utf8' });
  // A byte order mark, which JSON.parse does not take.
  const start = plain[0] === 0xef && plain[1] === 0xbb && plain[2] === 0xbf ? 3 : 0;
  return { text: plain.toString('utf8', start), bytes: plain.length };
}

/** On this thread: a common batch takes 60 µs, the largest 3 ms, and handing it to another costs as much again. */
function unpack(body: Buffer, encoding: string, hold: Hold): Buffer {
  const unpacker = UNPACKERS[encoding.toLowerCase()];
  if (unpacker === undefined) throw new Fault('invalid', 'Content-Encoding may be gzip, deflate or br.', { reason: 'content_encoding_not_supported' });
  let plain: Buffer;
  try {
    plain = unpacker(body, { maxOutputLength: MOST_BATCH_BYTES });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge();
    throw new Fault('invalid', `The body says that it is ${encoding.toLowerCase()}, but cannot be unpacked.`, { reason: 'body_encoding_broken' });
  }
  if (!hold.take(plain.length)) throw overloaded();
  return plain;
}

/** Reads the rest of a refused request and throws it away; cuts the connection when that is too much, or too slow. */
export function discard(request: IncomingMessage, timeoutMs: number): void {
  let bytes = 0;
  const timeout: Deadline = { slot: 0, index: -1, expire: () => void request.destroy() };
  deadlines.add(timeout, Date.now() + timeoutMs);
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MOST_DISCARDED_BYTES) request.destroy();
  });
  request.on('close', () => deadlines.remove(timeout));
  request.resume();
}

export function overloaded(): Fault {
  return new Fault('exhausted', 'Too much arrives at once. Send it again a little later.', { reason: 'overloaded', details: { retryAfterMs: 1_000 } });
}

function tooLarge(): Fault {
  return new Fault('invalid', `A batch may have ${MOST_BATCH_BYTES} bytes.`, { reason: 'body_too_large', details: { maxBytes: MOST_BATCH_BYTES } });
}
