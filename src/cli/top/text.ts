/** What is no picture but moves the cursor, ends a line, turns the direction of writing or begins an escape sequence. */
const STEERING = /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
const PLAIN = /^[\x20-\x7e]*$/;
/** Two columns on a terminal: scripts of East Asia (UAX 11: W and F), and what is drawn as a picture. */
const WIDE = /^(?![\uff61-\uffdc])[\p{sc=Han}\p{sc=Hangul}\p{sc=Hiragana}\p{sc=Katakana}\u3000-\u303e\uff01-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|\ufe0f/u;
const BLANK = /^[\p{Mn}\p{Me}\p{Cf}]+$/u;
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** Names and problems come from other machines: what would steer the terminal is shown as a mark instead. */
export function harmless(text: string): string {
  return PLAIN.test(text) ? text : text.replace(STEERING, '�');
}

/** Columns that it takes on a terminal. */
export function columnsOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let columns = 0;
  for (const { segment } of graphemes.segment(text)) columns += columnsOfOne(segment);
  return columns;
}

/** As much as fits, and `…` where something is missing. */
export function cut(text: string, columns: number): string {
  return columnsOf(text) <= columns ? text : `${beginningOf(text, columns - 1)}…`;
}

/** Words over as many lines as they need, the later ones indented; a word that fits no line goes on in the next. */
export function wrapped(text: string, columns: number, indent: string): string[] {
  const room = Math.max(columns, indent.length + 2);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && columnsOf(line) + 1 + columnsOf(word) <= room) line = `${line} ${word}`;
    else {
      if (line !== '') lines.push(line);
      line = lines.length === 0 ? word : `${indent}${word}`;
    }
    while (columnsOf(line) > room) {
      const beginning = beginningOf(line, room);
      lines.push(beginning);
      line = `${indent}${line.slice(beginning.length)}`;
    }
  }
  return [...lines, line];
}

/** As much as fits. */
export function beginningOf(text: string, columns: number): string {
  let left = columns;
  let beginning = '';
  for (const { segment } of graphemes.segment(text)) {
    left -= columnsOfOne(segment);
    if (left < 0) break;
    beginning += segment;
  }
  return beginning;
}

function columnsOfOne(grapheme: string): number {
  if (WIDE.test(grapheme)) return 2;
  return BLANK.test(grapheme) ? 0 : 1;
}
