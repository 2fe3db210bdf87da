export interface EncodedBody {
  readonly encoding: '7bit' | 'quoted-printable' | 'base64';
  /** ASCII with CRLF line ends; ends with one. */
  readonly text: string;
}

/** RFC 5322 section 2.1.1: no line may be longer, without its end. */
const LONGEST_LINE = 998;
const ONLY_ASCII = /^[\t\n\r\x20-\x7e]*$/;
/** Old mailbox formats change a line that begins so, and with it the signed body. */
const FROM_LINE = /^From /m;
const TRAILING_SPACE = /[ \t]$/m;

/**
 * Text as a MIME body. Line ends become CRLF. Plain ASCII goes as it is; other text as quoted-printable while most of
 * it is ASCII (readable), else as base64.
 */
export function encodeBody(source: string): EncodedBody {
  const text = endWithNewline(source);
  if (ONLY_ASCII.test(text)) {
    const lines = crlf(text);
    if (!hasLongLine(lines) && !FROM_LINE.test(lines) && !TRAILING_SPACE.test(lines)) return { encoding: '7bit', text: lines };
    return { encoding: 'quoted-printable', text: quotedPrintable(Buffer.from(lines, 'latin1')) };
  }
  const bytes = Buffer.from(crlf(text));
  // A character beyond ASCII takes two bytes or more in UTF-8; up to one in six the text stays legible to a person.
  const surplus = bytes.length - text.length;
  if (surplus * 6 > text.length) return { encoding: 'base64', text: base64Lines(bytes) };
  return { encoding: 'quoted-printable', text: quotedPrintable(bytes) };
}

function endWithNewline(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`;
}

function crlf(text: string): string {
  if (!text.includes('\r')) return text.replaceAll('\n', '\r\n');
  return text.replace(/\r\n?|\n/g, '\r\n');
}

/** Not a regular expression: one that looks for so many characters starts anew at each of them. */
function hasLongLine(lines: string): boolean {
  for (let start = 0; start < lines.length; ) {
    const end = lines.indexOf('\r\n', start);
    if (end - start > LONGEST_LINE) return true;
    start = end + 2;
  }
  return false;
}

function base64Lines(bytes: Buffer): string {
  return `${bytes.toString('base64').replace(/.{76}(?=.)/g, '$&\r\n')}\r\n`;
}

const HEX = Buffer.from('0123456789ABCDEF');
const CR = 13;
const LF = 10;
const EQUALS = 61;
/** RFC 2045 section 6.7: 76 characters, the soft break's `=` included. */
const QP_LINE = 76;

/** RFC 2045 section 6.7. The input's line ends are CRLF. */
function quotedPrintable(bytes: Buffer): string {
  // A byte becomes three at most, and each line of 75 gets a soft break of three.
  const out = spaceFor(bytes.length * 3 + Math.ceil((bytes.length * 3) / 73) * 3 + 16);
  let at = 0;
  let column = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (byte === CR && bytes[i + 1] === LF) {
      out[at++] = CR;
      out[at++] = LF;
      column = 0;
      i++;
      continue;
    }
    const literal = isLiteral(bytes, i, column);
    const width = literal ? 1 : 3;
    const endsLine = bytes[i + 1] === CR || i + 1 === bytes.length;
    if (column + width > (endsLine ? QP_LINE : QP_LINE - 1)) {
      out[at++] = EQUALS;
      out[at++] = CR;
      out[at++] = LF;
      column = 0;
    }
    if (literal) {
      out[at++] = byte;
    } else {
      out[at++] = EQUALS;
      out[at++] = HEX[byte >> 4]!;
      out[at++] = HEX[byte & 15]!;
    }
    column += width;
  }
  return out.toString('latin1', 0, at);
}

/** Kept from mail to mail; larger ones, which are rare, get their own. */
const KEPT_BYTES = 262_144;
let kept: Buffer | undefined;

/** Used up before the next one is asked for: a fresh one for each mail would be most of the garbage of a mail. */
function spaceFor(bytes: number): Buffer {
  return bytes > KEPT_BYTES ? Buffer.allocUnsafeSlow(bytes) : (kept ??= Buffer.allocUnsafeSlow(KEPT_BYTES));
}

const SPACE = 32;
const TAB = 9;
const DOT = 46;
const CAPITAL_F = 70;

/** Spaces before a line end are encoded, since relays drop them; so is a first `.` and the F of a line `From `. */
function isLiteral(bytes: Buffer, i: number, column: number): boolean {
  const byte = bytes[i]!;
  if (byte === SPACE || byte === TAB) return bytes[i + 1] !== CR;
  if (byte === EQUALS || byte < 33 || byte > 126) return false;
  return column !== 0 || (byte !== DOT && byte !== CAPITAL_F);
}
