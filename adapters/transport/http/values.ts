import { isUtf8 } from 'node:buffer';
import { Fault } from '../../../src/kernel/fault.ts';
import { MAX_DEPTH, MAX_VALUE_BYTES } from './limits.ts';

const [QUOTE, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [...'"\\[]{}'].map((sign) => sign.charCodeAt(0)) as [number, number, number, number, number, number];

const NOT_JSON = 'request_not_json';

/**
 * The JSON text of a value that is to leave, or why there is none: it holds itself or a bigint, is nested too deep, or
 * takes too many bytes.
 */
export function textOf(value: unknown): { readonly text: string } | { readonly problem: 'not_json' | 'too_large' } {
  let text: string;
  try {
    text = JSON.stringify(value) ?? 'null';
  } catch {
    return { problem: 'not_json' };
  }
  // A UTF-16 unit takes at most three bytes, so that most texts need no counting.
  if (text.length * 3 > MAX_VALUE_BYTES && Buffer.byteLength(text) > MAX_VALUE_BYTES) return { problem: 'too_large' };
  return isTooDeep(text) ? { problem: 'not_json' } : { text };
}

/**
 * The value of a body that has come.
 * @throws Fault `invalid` with reason `request_not_json`.
 */
export function valueOf(body: Buffer): unknown {
  if (!isUtf8(body)) throw new Fault('invalid', 'The body is not UTF-8. Encode the JSON as UTF-8.', { reason: NOT_JSON, origin: 'unsent' });
  const text = body.toString('utf8');
  if (isTooDeep(text)) throw new Fault('invalid', `Objects and lists may lie in each other at most ${MAX_DEPTH} deep.`, { reason: NOT_JSON, details: { maxDepth: MAX_DEPTH }, origin: 'unsent' });
  try {
    return JSON.parse(text);
  } catch (thrown) {
    // The parser's own message quotes the body.
    const at = /at position \d+/.exec((thrown as Error).message)?.[0] ?? 'at its end';
    throw new Fault('invalid', `The body is not JSON${text === '' ? ': it is empty' : `, ${at}`}. Send the request as one JSON value, e.g. {}.`, { reason: NOT_JSON, origin: 'unsent' });
  }
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
