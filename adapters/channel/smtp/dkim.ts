import { createHash, createPrivateKey, sign, type KeyObject } from 'node:crypto';
import type { EpochMs } from '../../../src/kernel/clock.ts';

export interface DkimKey {
  readonly domain: string;
  readonly selector: string;
  readonly privateKey: string;
}

/**
 * What is signed. RFC 8058 wants both List-Unsubscribe headers in it. Those named twice are signed once more than
 * they occur, so that nobody can add another (RFC 6376 section 8.15).
 */
const SIGNED = ['from', 'from', 'to', 'to', 'subject', 'subject', 'date', 'message-id', 'mime-version', 'content-type', 'list-unsubscribe', 'list-unsubscribe', 'list-unsubscribe-post', 'reply-to'];

/** Signs messages with relaxed/relaxed canonicalisation; the costly part runs on a thread of the pool. */
export class DkimSigner {
  readonly #key: KeyObject;
  readonly #algorithm: 'rsa-sha256' | 'ed25519-sha256';
  readonly #domain: string;
  readonly #selector: string;

  /** @throws TypeError when the key cannot be read or is of another kind. */
  constructor({ domain, selector, privateKey }: DkimKey) {
    this.#key = readKey(privateKey);
    this.#algorithm = this.#key.asymmetricKeyType === 'ed25519' ? 'ed25519-sha256' : 'rsa-sha256';
    this.#domain = domain;
    this.#selector = selector;
  }

  /** The message with the signature before its first header. */
  async sign(raw: Uint8Array, now: EpochMs): Promise<Buffer> {
    const message = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
    const end = message.indexOf('\r\n\r\n');
    const head = message.toString('latin1', 0, end < 0 ? message.length : end);
    const body = end < 0 ? '' : message.toString('latin1', end + 4);
    const bodyHash = createHash('sha256').update(relaxedBody(body), 'latin1').digest('base64');
    const unsigned =
      `DKIM-Signature: v=1; a=${this.#algorithm}; c=relaxed/relaxed; d=${this.#domain};\r\n s=${this.#selector}; t=${Math.floor(now / 1_000)};\r\n` +
      ` h=${SIGNED.join(':').replace(/(.{1,64}):/g, '$1:\r\n ')};\r\n bh=${bodyHash};\r\n b=`;
    const signature = await this.#signText(signedText(head, unsigned));
    return Buffer.concat([Buffer.from(`${unsigned}${signature.replace(/.{72}(?=.)/g, '$&\r\n ')}\r\n`, 'latin1'), message]);
  }

  #signText(text: string): Promise<string> {
    const data = Buffer.from(text, 'latin1');
    // RFC 8463 section 3: Ed25519 signs the SHA-256 of what RSA signs.
    const [digest, input] = this.#algorithm === 'rsa-sha256' ? (['sha256', data] as const) : ([null, createHash('sha256').update(data).digest()] as const);
    return new Promise((resolve, reject) => {
      sign(digest, input, this.#key, (error, signature) => (error ? reject(error) : resolve(signature.toString('base64'))));
    });
  }
}

function readKey(pem: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem.replaceAll('\\n', '\n'));
  } catch {
    throw new TypeError('dkim.privateKey must be a private key in PEM form.');
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (key.asymmetricKeyType === 'ed25519' || (key.asymmetricKeyType === 'rsa' && bits !== undefined && bits >= 1_024)) return key;
  throw new TypeError('dkim.privateKey must be an RSA key of at least 1024 bits or an Ed25519 key.');
}

/** Headers in the order of the list, each instance from the bottom up; those that do not occur count as empty. */
function signedText(head: string, unsigned: string): string {
  const fields = new Map<string, string[]>();
  for (const field of head.split(/\r\n(?![ \t])/)) {
    const name = field.slice(0, field.indexOf(':')).trimEnd().toLowerCase();
    const same = fields.get(name);
    if (same) same.push(field);
    else fields.set(name, [field]);
  }
  const chosen = SIGNED.map((name) => fields.get(name)?.pop()).filter((field) => field !== undefined);
  return chosen.map((field) => `${relaxedField(field)}\r\n`).join('') + relaxedField(unsigned);
}

/** RFC 6376 section 3.4.2. */
function relaxedField(field: string): string {
  const colon = field.indexOf(':');
  return `${field.slice(0, colon).trimEnd().toLowerCase()}:${field.slice(colon + 1).replace(/\r\n/g, '').replace(/[ \t]+/g, ' ').trim()}`;
}

/** RFC 6376 section 3.4.4. */
function relaxedBody(body: string): string {
  const lines = body.replace(/[ \t]+/g, ' ').replaceAll(' \r\n', '\r\n');
  let end = lines.length;
  if (lines.endsWith(' ')) end--;
  while (end >= 2 && lines.charCodeAt(end - 1) === 10 && lines.charCodeAt(end - 2) === 13) end -= 2;
  return end === 0 ? '' : `${lines.slice(0, end)}\r\n`;
}
