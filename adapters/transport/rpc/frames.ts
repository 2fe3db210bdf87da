import { crc32 } from 'node:zlib';

/*
 * A frame: length of the body, check and guard (three unsigned 32-bit numbers, big-endian), then the body, whose first
 * byte is its kind. The check is the CRC-32 of the body, begun with the frame's number within its direction, so that a
 * frame that was changed, repeated or left out on the way is noticed. The guard does the same for the header itself:
 * a wrong length is noticed before anything waits for the bytes that it promises. See docs/wire.md.
 */
export const HEADER_BYTES = 12;

/** The body is UTF-8 JSON; all that a stranger may send. */
export const KIND_HANDSHAKE = 1;
/** The body is messages, one after the other. */
export const KIND_MESSAGES = 2;
/** The same, after both ends have forgotten the records of this direction. */
export const KIND_MESSAGES_AFRESH = 3;

const GUARD = 0x4d_4c_52_50;

/** The first bytes of a connection, from the side that calls: no text, no TLS record, no HTTP. */
export const PREAMBLE = Buffer.from([0x8d, 0x4d, 0x4c, 0x52, 0x50, 0x01, 0x0d, 0x0a]);

/** What arrived is not what this protocol sends: the connection cannot be trusted any more. */
export class WireError extends Error {}

/** Writes the header into the first bytes of `frame`, whose body is complete. */
export function seal(frame: Buffer, number: number): void {
  const length = frame.length - HEADER_BYTES;
  const check = crc32(frame.subarray(HEADER_BYTES), number);
  frame.writeUInt32BE(length, 0);
  frame.writeUInt32BE(check, 4);
  frame.writeUInt32BE((length ^ check ^ GUARD) >>> 0, 8);
}

/** A body of JSON, framed. */
export function handshakeFrame(content: object, number: number): Buffer {
  const text = Buffer.from(JSON.stringify(content));
  const frame = Buffer.alloc(HEADER_BYTES + 1 + text.length);
  frame[HEADER_BYTES] = KIND_HANDSHAKE;
  text.copy(frame, HEADER_BYTES + 1);
  seal(frame, number);
  return frame;
}

/** The length of the body that a header promises. */
export function lengthIn(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at);
  if ((length ^ bytes.readUInt32BE(at + 4) ^ GUARD) >>> 0 !== bytes.readUInt32BE(at + 8)) throw new WireError('It sent something that is no frame.');
  return length;
}

export function requireIntact(bytes: Buffer, at: number, body: Buffer, number: number): void {
  if (crc32(body, number) !== bytes.readUInt32BE(at + 4)) throw new WireError('A frame was damaged, repeated or lost on the way.');
}
