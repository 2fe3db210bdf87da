import { isUtf8 } from 'node:buffer';
import type { ReadRow } from './text-rows.ts';

const LF = 0x0a;

export interface JsonRow {
  /** Not parsed yet; may be blank. */
  readonly text: string;
}

/** One JSON text a line, in UTF-8. */
export const jsonRows: ReadRow<JsonRow> = (bytes, from, isLast) => {
  const found = bytes.indexOf(LF, from);
  if (found < 0 && !isLast) return undefined;
  const end = found < 0 ? bytes.length : found;
  return { content: isUtf8(bytes.subarray(from, end)) ? { text: bytes.toString('utf8', from, end) } : 'not_utf8', end: found < 0 ? end : end + 1 };
};
