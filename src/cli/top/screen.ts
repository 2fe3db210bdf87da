import type { ReadStream, WriteStream } from 'node:tty';
import { cutLine, type Line, type Tone } from './table.ts';

const SGR: Readonly<Record<Tone, string>> = { plain: '', faint: '\x1b[2m', strong: '\x1b[1m', good: '\x1b[32m', bad: '\x1b[31m', warn: '\x1b[33m' };
const RESET = '\x1b[0m';
/** Alternate screen on, cursor hidden, no wrapping of long lines; and all of it back. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
const CTRL_C = '\u0003';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export type TerminalIn = Pick<ReadStream, 'isTTY' | 'setRawMode' | 'on' | 'removeListener' | 'pause' | 'resume'>;
export type TerminalOut = Pick<WriteStream, 'isTTY' | 'columns' | 'rows' | 'write' | 'on' | 'removeListener'>;

export function plainText(lines: readonly Line[]): string {
  return lines.map((line) => line.map(({ text }) => text).join('').trimEnd()).join('\n');
}

/** A terminal taken over for a picture that is drawn again and again, until q, Ctrl-C or a signal; then as it was before. */
export class Screen {
  readonly #input: TerminalIn;
  readonly #output: TerminalOut;
  readonly #colours: boolean;
  /** Aborts when whoever watches has seen enough. */
  readonly closed: AbortSignal;
  readonly #closing = new AbortController();
  #redraw: () => void = () => {};

  constructor(input: TerminalIn, output: TerminalOut, colours: boolean) {
    this.#input = input;
    this.#output = output;
    this.#colours = colours;
    this.closed = this.#closing.signal;
  }

  get width(): number {
    return this.#output.columns || 80;
  }

  /** `redraw` is called when the window has another size. */
  open(redraw: () => void): void {
    this.#redraw = redraw;
    // Also after a defect that ends the process from elsewhere.
    process.on('exit', this.#giveBack);
    for (const signal of SIGNALS) process.on(signal, this.#end);
    this.#output.write(ENTER);
    this.#output.on('resize', this.#redraw);
    // A terminal that has gone away says so in reading, in writing, or in being set back, which comes last of all.
    for (const stream of [this.#input, this.#output]) stream.on('error', this.#end);
    if (this.#input.isTTY) this.#input.setRawMode(true).on('end', this.#end);
    this.#input.on('data', this.#onKey);
    this.#input.resume();
  }

  /** Over what stood there, without a flicker. What does not fit is left out below, and said. */
  draw(lines: readonly Line[]): void {
    const rows = this.#output.rows || 24;
    const hidden = lines.length - rows;
    const shown = hidden > 0 ? [...lines.slice(0, rows - 1), [{ text: ` … ${hidden + 1} more lines: a taller window shows them`, tone: 'faint' as const }]] : lines;
    // Cleared first: behind a line that is as wide as the window the cursor still stands on its last character.
    const drawn = shown.map((line) => `${CLEAR_LINE}${cutLine(line, this.width).map(({ text, tone }) => this.#toned(text, tone)).join('')}`);
    this.#output.write(`${HOME}${drawn.join('\r\n')}${drawn.length < rows ? `\r\n${CLEAR_BELOW}` : ''}`);
  }

  close(): void {
    for (const signal of SIGNALS) process.removeListener(signal, this.#end);
    process.removeListener('exit', this.#giveBack);
    this.#input.removeListener('data', this.#onKey);
    this.#input.removeListener('end', this.#end);
    this.#output.removeListener('resize', this.#redraw);
    this.#giveBack();
    this.#input.pause();
  }

  readonly #giveBack = (): void => {
    if (this.#input.isTTY) this.#input.setRawMode(false);
    this.#output.write(LEAVE);
  };

  readonly #onKey = (keys: Buffer): void => {
    if (/[qQ]/.test(String(keys)) || String(keys).includes(CTRL_C)) this.#end();
  };

  readonly #end = (): void => this.#closing.abort();

  #toned(text: string, tone: Tone): string {
    return tone === 'plain' || !this.#colours ? text : `${SGR[tone]}${text}${RESET}`;
  }
}
