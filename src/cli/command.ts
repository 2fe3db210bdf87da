import { parseArgs, type ParseArgsConfig } from 'node:util';
import { didYouMean } from '../app/config/suggest.ts';

/** What a command returns to the shell. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

export interface Option {
  /** What its value is called in the help; left out for a switch. */
  readonly value?: string;
  readonly short?: string;
  /** May be given more than once. */
  readonly many?: boolean;
  readonly help: string;
}

export interface Command {
  readonly name: string;
  /** What stands after the name, e.g. `<queue>`. */
  readonly usage: string;
  /** How many words may stand after the name. Default: none. */
  readonly words?: number;
  /** Paragraphs for the command's own help. */
  readonly details: string;
  readonly options: Readonly<Record<string, Option>>;
  run(args: Args, io: Io): Promise<number>;
}

/** Where a command reads and writes; a test brings its own. */
export interface Io {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Of the terminal, in columns; undefined where the output goes elsewhere. */
  readonly width?: number | undefined;
  out(text: string): void;
  error(text: string): void;
}

/** What was typed after the command's name. */
export interface Args {
  readonly words: readonly string[];
  /** The options that were given, by their long names. */
  readonly given: readonly string[];
  flag(name: string): boolean;
  text(name: string): string | undefined;
  texts(name: string): readonly string[];
}

/** Wrong use: shown as it is, with exit code 2. */
export class UsageError extends Error {}

/** What was typed, checked against what the command takes. @throws UsageError */
export function parse(command: Command, argv: readonly string[]): Args {
  const options: NonNullable<ParseArgsConfig['options']> = { help: { type: 'boolean', short: 'h' } };
  for (const [name, { value, short, many }] of Object.entries(command.options)) options[name] = { type: value === undefined ? 'boolean' : 'string', ...(short && { short }), ...(many && { multiple: true }) };
  const { values, positionals, tokens } = parseArgs({ args: [...argv], options, allowPositionals: true, strict: false, tokens: true });
  for (const token of tokens) if (token.kind === 'option') checkOption(command, token.name, token.rawName, token.value);
  const surplus = positionals[command.words ?? 0];
  if (surplus !== undefined) throw new UsageError(`multilith ${command.name} does not know what to do with ${JSON.stringify(surplus)}. It takes: ${command.usage}\nSee multilith ${command.name} --help.`);
  return {
    words: positionals,
    given: Object.keys(values),
    flag: (name) => values[name] === true,
    text: (name) => [values[name]].flat().filter((one) => typeof one === 'string').at(-1),
    texts: (name) => [values[name]].flat().filter((one) => typeof one === 'string'),
  };
}

function checkOption(command: Command, name: string, written: string, value: string | undefined): void {
  if (name === 'help') return;
  const option = Object.hasOwn(command.options, name) ? command.options[name] : undefined;
  if (option === undefined) throw new UsageError(`multilith ${command.name} has no option ${written}.${didYouMean(name, Object.keys(command.options)).replace('"', '"--')}\nSee multilith ${command.name} --help.`);
  if (option.value === undefined && value !== undefined) throw new UsageError(`${written} takes no value.`);
  if (option.value !== undefined && (value === undefined || value === '')) throw new UsageError(`${written} needs a value: ${written} ${option.value}`);
}

export function helpOf(command: Command): string {
  const rows = Object.entries({ ...command.options, help: { short: 'h', help: 'Show this.' } as Option }).map(([name, { value, short, help }]) => [`${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`, help] as const);
  return [`multilith ${[command.name, command.usage].filter(Boolean).join(' ')}`, '', command.details, '', 'Options', ...table(rows), ''].join('\n');
}

/** Two columns, the second wrapped under itself. */
export function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(30, Math.max(...rows.map(([left]) => left.length)));
  return rows.flatMap(([left, right]) => {
    const lines = wrap(right, 96 - width);
    const first = left.length > width ? [`  ${left}`, `  ${' '.repeat(width)}  ${lines[0]}`] : [`  ${left.padEnd(width)}  ${lines[0]}`];
    return [...first, ...lines.slice(1).map((line) => `  ${' '.repeat(width)}  ${line}`)];
  });
}

function wrap(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1)!;
    if (last !== '' && last.length + word.length >= width) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}
