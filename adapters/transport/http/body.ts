import type { IncomingMessage } from 'node:http';
import { Fault } from '../../../src/kernel/fault.ts';
import { MAX_BODY_BYTES } from './limits.ts';

/** Calls back once: with the whole body, or with why it is not taken. Neither when the client leaves before its end. */
export function readBody(request: IncomingMessage, done: (body: Buffer | undefined, refused: Fault | undefined) => void): void {
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > MAX_BODY_BYTES) return done(undefined, bodyTooLarge());
  let chunks: Buffer[] = [];
  let bytes = 0;
  const take = (chunk: Buffer): void => {
    bytes += chunk.length;
    chunks.push(chunk);
    if (bytes <= MAX_BODY_BYTES) return;
    request.off('data', take);
    request.off('end', end);
    chunks = [];
    done(undefined, bodyTooLarge());
  };
  const end = (): void => done(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes), undefined);
  request.on('data', take);
  request.on('end', end);
}

/** What a refused request may still send, and for how long, before its connection is cut, so that it can read why. */
const MOST_DISCARDED_BYTES = 32 * 1024 * 1024;
const LONGEST_DISCARD_MS = 2_000;

/** Reads the rest of a refused request and throws it away. */
export function discardBody(request: IncomingMessage, done: () => void): void {
  let bytes = 0;
  const finish = (): void => {
    clearTimeout(timer);
    request.off('data', count).off('end', finish).off('close', finish);
    done();
  };
  const count = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > MOST_DISCARDED_BYTES) finish();
  };
  const timer = setTimeout(finish, LONGEST_DISCARD_MS);
  request.on('data', count).on('end', finish).on('close', finish);
  request.resume();
}

function bodyTooLarge(): Fault {
  return new Fault('invalid', `The body may take at most ${MAX_BODY_BYTES} bytes. Large things go through the blob port.`, { reason: 'request_too_large', details: { maxBytes: MAX_BODY_BYTES }, origin: 'unsent' });
}
