import type { ReadStream, WriteStream } from 'node:tty';
import type { Line, Tone } from './table.ts';

const SGR: Readonly<Record<Tone, string>> = { plain: '', faint: '\x1b[2m', strong: '\x1b[1m', good: '\x1b[32m', bad: '\x1b[31m', warn: '\x1b[33m' };
const RESET = '\x1b[0m';
/** Alternate screen on, cursor hidden, no wrapping of long lines; and all of it back. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
const CTRL_C = '\u0003';

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
    this.#output.write(ENTER);
    this.#output.on('resize', this.#redraw);
    if (this.#input.isTTY) this.#input.setRawMode(true);
    this.#input.on('data', this.#onKey);
    this.#input.resume();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, this.#end);
  }

  /** Over what stood there, without a flicker. What does not fit is left out below, and said. */
  draw(lines: readonly Line[]): void {
    const rows = this.#output.rows || 24;
    const hidden = lines.length - rows;
    const shown = hidden > 0 ? [...lines.slice(0, rows - 1), [{ text: ` … ${hidden + 1} more lines: a taller window shows them`, tone: 'faint' as const }]] : lines;
    this.#output.write(`${HOME}${shown.map((line) => `${line.map(({ text, tone }) => this.#toned(text, tone)).join('')}${CLEAR_LINE}`).join('\r\n')}${CLEAR_BELOW}`);
  }

  close(): void {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.removeListener(signal, this.#end);
    this.#input.removeListener('data', this.#onKey);
    if (this.#input.isTTY) this.#input.setRawMode(false);
    this.#input.pause();
    this.#output.removeListener('resize', this.#redraw);
    this.#output.write(LEAVE);
  }

  readonly #onKey = (keys: Buffer): void => {
    if (/[qQ]/.test(String(keys)) || String(keys).includes(CTRL_C)) this.#end();
  };

  readonly #end = (): void => this.#closing.abort();

  #toned(text: string, tone: Tone): string {
    return tone === 'plain' || !this.#colours ? text : `${SGR[tone]}${text}${RESET}`;
  }
}
