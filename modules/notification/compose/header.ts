/** RFC 5322 section 2.1.1: lines should not be longer than this. */
const LINE_CHARS = 76;
/** RFC 2047 section 2: an encoded word is at most 75 characters; 45 bytes are 60 in base64, and `=?utf-8?B?…?=` is 12. */
const WORD_BYTES = 45;

const CONTROL = /[\u0000-\u001f\u007f]+/g;
/** Printable ASCII that no reader takes for an encoded word. */
const PLAIN = /^[\x20-\x7e]*$/;

/** One line of well-formed text: line breaks, NUL and other control characters become a space. */
export function headerText(text: string): string {
  return text.replace(CONTROL, ' ').toWellFormed().trim();
}

/**
 * An unstructured header, folded, its end included. Control characters cannot get through: a value that holds a line
 * break would otherwise add headers of its own.
 */
export function unstructuredHeader(name: string, value: string): string {
  const text = headerText(value);
  if (name.length + 2 + text.length <= LINE_CHARS && isPlain(text)) return `${name}: ${text}\r\n`;
  const words = isPlain(text) ? foldable(text) : null;
  return `${name}: ${fold(words ?? encodedWords(text), name.length + 2)}\r\n`;
}

/** `name <email>` as RFC 5322 wants it. `email` must have passed `parseAddress`. */
export function mailboxHeader(name: string, displayName: string, email: string): string {
  const text = headerText(displayName);
  if (text === '') return `${name}: ${email}\r\n`;
  const phrase = isPlain(text) && text.length <= 60 ? [quoted(text)] : encodedWords(text);
  return `${name}: ${fold([...phrase, `<${email}>`], name.length + 2)}\r\n`;
}

function isPlain(text: string): boolean {
  return PLAIN.test(text) && !text.includes('=?');
}

function quoted(text: string): string {
  return /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+$/.test(text) ? text : `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** The words to fold between, or null when folding there would lose a space or leave a line too long. */
function foldable(text: string): string[] | null {
  const words = text.split(' ');
  return words.every((word) => word !== '' && word.length < LINE_CHARS) ? words : null;
}

/** RFC 2047 base64 words, each whole characters only; readers drop the space between two of them. */
function encodedWords(text: string): string[] {
  const words: string[] = [];
  let part = '';
  let bytes = 0;
  for (const character of text) {
    const size = Buffer.byteLength(character);
    if (bytes + size > WORD_BYTES) {
      words.push(part);
      part = '';
      bytes = 0;
    }
    part += character;
    bytes += size;
  }
  words.push(part);
  return words.map((word) => `=?utf-8?B?${Buffer.from(word).toString('base64')}?=`);
}

function fold(words: readonly string[], firstColumn: number): string {
  let column = firstColumn + words[0]!.length;
  let out = words[0]!;
  for (const word of words.slice(1)) {
    const breaks = column + 1 + word.length > LINE_CHARS;
    out += breaks ? `\r\n ${word}` : ` ${word}`;
    column = breaks ? 1 + word.length : column + 1 + word.length;
  }
  return out;
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const two = (value: number): string => (value < 10 ? `0${value}` : `${value}`);

/** RFC 5322 date and time, in UTC. */
export function dateHeader(epochMs: number): string {
  const d = new Date(epochMs);
  return `${DAYS[d.getUTCDay()]}, ${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]} ${d.getUTCFullYear()} ${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())} +0000`;
}
