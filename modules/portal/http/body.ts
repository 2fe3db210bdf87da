import type { IncomingMessage } from 'node:http';
import { Fault } from '../../../src/kernel/fault.ts';
import { fieldInvalid } from './validate.ts';

/**
 * The whole body. Faults: `invalid`/`body_too_large` as soon as that is known, `invalid`/`content_type_not_supported`
 * for a compressed one, `deadline`/`body_timeout` when it does not come in time, `cancelled` when the client leaves.
 */
export async function readBody(request: IncomingMessage, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') throw new Fault('invalid', 'Send the body uncompressed.', { reason: 'content_type_not_supported' });
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const chunks: Buffer[] = [];
  let bytes = 0;
  return new Promise<Buffer>((resolve, reject) => {
    const settle = (end: () => void) => {
      request.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose);
      signal.removeEventListener('abort', onAbort);
      end();
    };
    const fail = (fault: Fault) => settle(() => {
      request.pause();
      reject(fault);
    });
    const onData = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBytes) fail(tooLarge(maxBytes));
      else chunks.push(chunk);
    };
    const onEnd = () => settle(() => resolve(Buffer.concat(chunks)));
    const onClose = () => fail(new Fault('cancelled', 'The client left before the whole request had come.'));
    const onAbort = () => fail(new Fault('deadline', 'The body did not come in time.', { reason: 'body_timeout', origin: 'unsent' }));
    request.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

function tooLarge(maxBytes: number): Fault {
  return new Fault('invalid', `The body is larger than ${maxBytes} bytes.`, { reason: 'body_too_large', details: { maxBytes } });
}

/** The body as JSON. Faults: `invalid`/`content_type_not_supported`, `invalid`/`json_invalid`. */
export function parseJson(body: Buffer, contentType: string | undefined): unknown {
  if (!/^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(contentType ?? '')) {
    throw new Fault('invalid', 'Send JSON, with Content-Type: application/json.', { reason: 'content_type_not_supported' });
  }
  try {
    return JSON.parse(decode(body));
  } catch (thrown) {
    if (Fault.is(thrown)) throw thrown;
    throw new Fault('invalid', 'The body is not valid JSON.', { reason: 'json_invalid' });
  }
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
