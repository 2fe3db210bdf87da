import { isUtf8 } from 'node:buffer';
import { Fault } from '../../../src/kernel/fault.ts';
import { MAX_BODY_BYTES, MAX_DEPTH } from './limits.ts';

const [QUOTE, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [...'"\\[]{}'].map((sign) => sign.charCodeAt(0)) as [number, number, number, number, number, number];

/**
 * The JSON text of a value that is to leave.
 * @throws Fault `invalid` with reason `not_json`, `too_deep` or `too_large`.
 */
export function textOf(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value) ?? 'null';
  } catch (thrown) {
    // A cycle tells of itself in a TypeError; running out of stack is a RangeError.
    throw thrown instanceof RangeError ? tooDeep() : new Fault('invalid', 'The value cannot be JSON: it holds itself, or a bigint.', { reason: 'not_json', cause: thrown });
  }
  // A UTF-16 unit takes at most three bytes, so that most texts need no counting.
  if (text.length * 3 > MAX_BODY_BYTES && Buffer.byteLength(text) > MAX_BODY_BYTES) throw tooLarge();
  if (isTooDeep(text)) throw tooDeep();
  return text;
}

/**
 * The value of a body that has come.
 * @throws Fault `invalid` with reason `body_not_utf8`, `too_deep` or `not_json`.
 */
export function valueOf(body: Buffer): unknown {
  if (!isUtf8(body)) throw new Fault('invalid', 'The body is not UTF-8. Encode the JSON as UTF-8.', { reason: 'body_not_utf8' });
  const text = body.toString('utf8');
  if (isTooDeep(text)) throw tooDeep();
  try {
    return JSON.parse(text);
  } catch (thrown) {
    const where = text === '' ? 'the body is empty' : (thrown as Error).message.replaceAll(/"[^]*"/g, 'the text');
    throw new Fault('invalid', `The body is not JSON: ${where}. Send the request as one JSON value, e.g. {}.`, { reason: 'not_json' });
  }
}

export function tooLarge(): Fault {
  return new Fault('invalid', `The value takes more than ${MAX_BODY_BYTES} bytes as JSON. Send it in parts, or through the blob port.`, { reason: 'too_large', details: { maxBytes: MAX_BODY_BYTES } });
}

function tooDeep(): Fault {
  return new Fault('invalid', `Objects and lists may lie in each other at most ${MAX_DEPTH} deep.`, { reason: 'too_deep', details: { maxDepth: MAX_DEPTH } });
}

function isTooDeep(text: string): boolean {
  // Each level takes two brackets.
  if (text.length <= 2 * MAX_DEPTH) return false;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) i = endOfString(text, i);
    else if (code === OPEN_LIST || code === OPEN_OBJECT) {
      if (++depth > MAX_DEPTH) return true;
    } else if (code === CLOSE_LIST || code === CLOSE_OBJECT) depth--;
  }
  return false;
}

function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++;
    if (escapes % 2 === 0) return end;
  }
  return text.length;
}
