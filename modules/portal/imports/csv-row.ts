import { isUtf8 } from 'node:buffer';
import type { ReadResult, ReadRow } from './text-rows.ts';

const QUOTE = 0x22;
const LF = 0x0a;
const CR = 0x0d;
/** What spreadsheets put between fields, the likeliest first. */
const DELIMITERS = [',', ';', '\t'];

export interface CsvRow {
  readonly fields: readonly string[];
}

/**
 * Rows of RFC 4180 in UTF-8, ended by CRLF or LF; a quote within an unquoted field is a quote. The first row's
 * delimiter (`,`, `;` or a tab) is the file's.
 */
export function csvRows(): ReadRow<CsvRow> {
  let delimiter: number | undefined;
  return (bytes, from, isLast) => {
    if (delimiter === undefined) {
      const end = bytes.indexOf(LF, from);
      if (end < 0 && !isLast) return undefined;
      delimiter = delimiterOf(bytes.toString('utf8', from, end < 0 ? bytes.length : end));
    }
    return readRow(bytes, from, delimiter, isLast);
  };
}

function delimiterOf(head: string): number {
  const bare = head.replace(/"(?:[^"]|"")*"/g, '');
  const counts = DELIMITERS.map((delimiter) => bare.split(delimiter).length);
  return DELIMITERS[counts.indexOf(Math.max(...counts))]!.charCodeAt(0);
}

function readRow(bytes: Buffer, from: number, delimiter: number, isLast: boolean): ReadResult<CsvRow> | undefined {
  const fields: string[] = [];
  let at = from;
  for (;;) {
    const isQuoted = bytes[at] === QUOTE;
    const start = isQuoted ? at + 1 : at;
    const end = isQuoted ? closingQuote(bytes, start) : endOfPlain(bytes, start, delimiter);
    if (end < 0) return undefined;
    const text = bytes.toString('utf8', start, end);
    at = isQuoted ? end + 1 : end;
    // The next byte may be a second quote, or the line end behind a CR.
    if (!isLast && at + 1 >= bytes.length) return undefined;
    fields.push(isQuoted ? text.replaceAll('""', '"') : text);
    if (bytes[at] === delimiter) at++;
    else break;
  }
  if (bytes[at] === CR && (at + 1 === bytes.length || bytes[at + 1] === LF)) at++;
  if (at < bytes.length && bytes[at] !== LF) return { content: 'quote_misplaced', end: at, isBroken: true };
  return { content: isUtf8(bytes.subarray(from, at)) ? { fields } : 'not_utf8', end: Math.min(at + 1, bytes.length) };
}

/** Negative when it has not come yet. */
function closingQuote(bytes: Buffer, from: number): number {
  let at = bytes.indexOf(QUOTE, from);
  while (at >= 0 && bytes[at + 1] === QUOTE) at = bytes.indexOf(QUOTE, at + 2);
  return at;
}

function endOfPlain(bytes: Buffer, from: number, delimiter: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] !== delimiter && bytes[at] !== LF) at++;
  const endsLine = at === bytes.length || bytes[at] === LF;
  return endsLine && at > from && bytes[at - 1] === CR ? at - 1 : at;
}
