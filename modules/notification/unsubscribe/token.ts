import { hash, hkdfSync, timingSafeEqual } from 'node:crypto';

/** Who is meant by an unsubscribe link, and for which channel. */
export interface UnsubscribeSubject {
  readonly workspace: string;
  readonly personId: string;
  readonly channel: string;
  /** In a mail that staff sent to try a template: the link works, and changes nothing. */
  readonly test: boolean;
}

const VERSION = 1;
const TEST = 0x80;
/** 128 bits: out of reach of guessing, and short. */
const MAC_BYTES = 16;
const HASH_BLOCK_BYTES = 64;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** Length byte of an id that is packed as the 16 bytes of a UUID. */
const AS_UUID = 0xff;

/**
 * Tokens of unsubscribe links: the ids, and a MAC over them (HMAC-SHA256 with a key of their own, RFC 5869). They hold
 * no personal data and never expire, since the link of an old mail must work too.
 */
export class UnsubscribeTokens {
  readonly #inner: Buffer;
  readonly #outer: Buffer;

  constructor(secret: Uint8Array) {
    const key = Buffer.alloc(HASH_BLOCK_BYTES);
    key.set(new Uint8Array(hkdfSync('sha256', secret, '', 'multilith notification unsubscribe', 32)));
    this.#inner = key.map((byte) => byte ^ 0x36) as Buffer;
    this.#outer = key.map((byte) => byte ^ 0x5c) as Buffer;
  }

  /** URL-safe, about 80 characters. */
  write({ workspace, personId, channel, test }: UnsubscribeSubject): string {
    const body = Buffer.concat([Buffer.of(VERSION | (test ? TEST : 0)), pack(workspace), pack(personId), pack(channel)]);
    return Buffer.concat([body, this.#mac(body)]).toString('base64url');
  }

  /** Null for what is not a token of this installation, unharmed. */
  read(token: string): UnsubscribeSubject | null {
    if (!/^[A-Za-z0-9_-]{20,1000}$/.test(token)) return null;
    const bytes = Buffer.from(token, 'base64url');
    const body = bytes.subarray(0, -MAC_BYTES);
    if (bytes.toString('base64url') !== token || body.length < 1 || !timingSafeEqual(bytes.subarray(-MAC_BYTES), this.#mac(body))) return null;
    if ((body[0]! & ~TEST) !== VERSION) return null;
    const [workspace, personId, channel] = unpack(body.subarray(1));
    return workspace === undefined || personId === undefined || channel === undefined ? null : { workspace, personId, channel, test: (body[0]! & TEST) !== 0 };
  }

  /** RFC 2104, written out: one is made for every mail, and createHmac costs five times as much. */
  #mac(body: Uint8Array): Buffer {
    const inner = hash('sha256', Buffer.concat([this.#inner, body]), 'buffer');
    return hash('sha256', Buffer.concat([this.#outer, inner]), 'buffer').subarray(0, MAC_BYTES);
  }
}

function pack(id: string): Buffer {
  if (UUID.test(id)) return Buffer.concat([Buffer.of(AS_UUID), Buffer.from(id.replaceAll('-', ''), 'hex')]);
  const bytes = Buffer.from(id);
  if (bytes.length >= AS_UUID) throw new RangeError(`An id of ${bytes.length} bytes is too long for a link.`);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

function unpack(bytes: Buffer): string[] {
  const ids: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const isUuid = bytes[at] === AS_UUID;
    const length = isUuid ? 16 : bytes[at]!;
    const part = bytes.subarray(at + 1, at + 1 + length);
    ids.push(isUuid ? part.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') : part.toString());
    at += 1 + length;
  }
  return ids;
}
