import type { IncomingMessage } from 'node:http';
import { Fault } from '../../../src/kernel/fault.ts';
import { readRequest } from '../reading.ts';
import { fieldInvalid } from './validate.ts';

/**
 * The whole body. Faults: `invalid`/`body_too_large` as soon as that is known, `invalid`/`content_type_not_supported`
 * for a compressed one, `deadline`/`body_timeout` when it does not come in time, `cancelled` when the client leaves.
 */
export async function readBody(request: IncomingMessage, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') throw new Fault('invalid', 'Send the body uncompressed.', { reason: 'content_type_not_supported' });
  const reading = readRequest(request, (bytes) => (bytes > maxBytes ? bodyTooLarge(maxBytes) : undefined));
  const onAbort = () => reading.fail(new Fault('deadline', 'The body did not come in time.', { reason: 'body_timeout', origin: 'unsent' }));
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await reading.body;
  } catch (thrown) {
    request.pause();
    throw thrown;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

export function bodyTooLarge(maxBytes: number): Fault {
  return new Fault('invalid', `The body is larger than ${maxBytes} bytes.`, { reason: 'body_too_large', details: { maxBytes } });
}

/** A body that is not looked at beforehand cannot hold enough values to hold up the event loop. */
const SMALL_BYTES = 131_072;
/** A large body is large by its texts; a million values would take seconds to parse and to check. */
const MOST_VALUES = 50_000;

/**
 * The body as JSON. Faults: `invalid`/`content_type_not_supported`, `invalid`/`json_invalid`, `invalid`/`fields_invalid`
 * for one of too many values.
 */
export function parseJson(body: Buffer, contentType: string | undefined): unknown {
  if (!/^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(contentType ?? '')) {
    throw new Fault('invalid', 'Send JSON, with Content-Type: application/json.', { reason: 'content_type_not_supported' });
  }
  if (body.length > SMALL_BYTES && holdsMoreValues(body, MOST_VALUES)) throw fieldInvalid('body', '', 'bytes', `holds more than ${MOST_VALUES} values`, 'Send fewer.');
  try {
    return JSON.parse(decode(body));
  } catch (thrown) {
    if (Fault.is(thrown)) throw thrown;
    throw new Fault('invalid', 'The body is not valid JSON.', { reason: 'json_invalid' });
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BEFORE_A_VALUE = new Set([0x2c, 0x5b, 0x7b]);

/** Counts `,`, `[` and `{` outside of texts, which costs a few nanoseconds a byte; stops when there are more. */
function holdsMoreValues(json: Buffer, most: number): boolean {
  let values = 0;
  for (let i = 0; i < json.length; i++) {
    if (json[i] === QUOTE) i = endOfText(json, i + 1);
    else if (BEFORE_A_VALUE.has(json[i]!) && ++values > most) return true;
  }
  return false;
}

/** Where the closing quote stands, or the end for want of one. */
function endOfText(json: Buffer, from: number): number {
  let i = from;
  while (i < json.length && json[i] !== QUOTE) i += json[i] === BACKSLASH ? 2 : 1;
  return i;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function decode(body: Buffer): string {
  try {
    return utf8.decode(body);
  } catch {
    throw fieldInvalid('body', '', 'bytes', 'is not valid UTF-8', 'Encode it as UTF-8.');
  }
}

/** An HTML form as name and value; of a name that comes twice the first counts. Fault `invalid`. */
export function parseForm(body: Buffer, contentType: string | undefined): ReadonlyMap<string, string> {
  if (!/^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(contentType ?? '')) {
    throw new Fault('invalid', 'Send a form, with Content-Type: application/x-www-form-urlencoded.', { reason: 'content_type_not_supported' });
  }
  const fields = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(decode(body))) if (!fields.has(name)) fields.set(name, value);
  return fields;
}
