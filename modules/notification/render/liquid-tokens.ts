import { randomBytes } from 'node:crypto';

/** A piece of Liquid in a text: `{{ … }}`, `{% … %}`, or a whole `raw` or `comment` block. */
export interface LiquidToken {
  readonly text: string;
  readonly start: number;
}

/** Blocks whose inside is not Liquid. */
const OPAQUE = /^\{%-?\s*(raw|comment)\b/;

/** Finds all Liquid in a text, in order. What is never closed counts as text; the parser complains of it later. */
export function liquidTokens(source: string): LiquidToken[] {
  const tokens: LiquidToken[] = [];
  const opening = /\{[{%]/g;
  for (let found = opening.exec(source); found !== null; found = opening.exec(source)) {
    const end = endOfToken(source, found.index);
    if (end < 0) break;
    tokens.push({ text: source.slice(found.index, end), start: found.index });
    opening.lastIndex = end;
  }
  return tokens;
}

function endOfToken(source: string, start: number): number {
  const end = closing(source, start + 2, source[start + 1] === '%' ? '%}' : '}}');
  if (end < 0) return -1;
  const block = OPAQUE.exec(source.slice(start, end));
  if (block === null) return end;
  const close = new RegExp(`\\{%-?\\s*end${block[1]}\\s*-?%\\}`, 'g');
  close.lastIndex = end;
  return close.exec(source) === null ? -1 : close.lastIndex;
}

/** Delimiters inside quotes do not count. */
function closing(source: string, from: number, delimiter: string): number {
  let quote = '';
  for (let i = from; i < source.length; i++) {
    const character = source[i]!;
    if (quote !== '') {
      if (character === quote) quote = '';
    } else if (character === '"' || character === "'") {
      quote = character;
    } else if (character === delimiter[0] && source[i + 1] === delimiter[1]) {
      return i + 2;
    }
  }
  return -1;
}

/**
 * A text whose Liquid has been swapped for words that HTML and MJML tools leave alone, wherever they stand.
 * The words are drawn anew each time, so that no text can hold one by itself.
 */
export class MaskedLiquid {
  readonly text: string;
  /** Matches one of the words; the first group is its number. */
  readonly word: RegExp;
  readonly #tokens: readonly LiquidToken[];

  constructor(source: string) {
    const nonce = `lq${randomBytes(6).toString('hex')}n`;
    this.#tokens = liquidTokens(source);
    this.word = new RegExp(`${nonce}(\\d+)q`, 'g');
    let at = 0;
    let text = '';
    this.#tokens.forEach((token, index) => {
      text += `${source.slice(at, token.start)}${nonce}${index}q`;
      at = token.start + token.text.length;
    });
    this.text = text + source.slice(at);
  }

  token(index: number): string {
    return this.#tokens[index]!.text;
  }

  /** Puts the Liquid back into what has become of the text. */
  restore(text: string): string {
    return text.replace(this.word, (_, index: string) => this.token(Number(index)));
  }
}

/** 1 for the first line. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let i = text.indexOf('\n'); i >= 0 && i < offset; i = text.indexOf('\n', i + 1)) line++;
  return line;
}
