import { columnsOf, cut, harmless } from './text.ts';

/** How a cell is shown on a terminal; text for people without colours is the same but for these. */
export type Tone = 'plain' | 'faint' | 'strong' | 'good' | 'bad' | 'warn';
export interface Cell {
  readonly text: string;
  readonly tone: Tone;
}
export type Line = readonly Cell[];

export interface Column {
  readonly title: string;
  /** On the terminal; the one column with 0 takes what is left. */
  readonly width: number;
  readonly right?: boolean;
  /** Left out where the window is too narrow, the lowest number first; stays when left out here. */
  readonly spare?: number;
}

/** Below it a name says nothing: rather a figure less. */
const LEAST_REST = 12;

export function cell(text: string, tone: Tone = 'plain'): Cell {
  return { text: harmless(text), tone };
}

/** The head and a line for each row, `width` columns wide with a margin of one on the left. */
export function table(columns: readonly Column[], rows: readonly (readonly Cell[])[], width: number): Line[] {
  const shown = fitting(columns, width);
  const rest = roomIn(columns, width);
  const lineOf = (cells: readonly Cell[]): Line => {
    const last = shown.at(-1);
    return [cell(' '), ...shown.flatMap((column) => [padded(cells[columns.indexOf(column)]!, column, column.width || rest, column === last), ...(column === last ? [] : [cell(' ')])])];
  };
  return [lineOf(columns.map(({ title }) => cell(title, 'faint'))), ...rows.map(lineOf)];
}

/** What is left for the column without a width of its own. */
export function roomIn(columns: readonly Column[], width: number): number {
  return Math.max(1, restOf(fitting(columns, width), width));
}

/** No wider than the window. */
export function cutLine(line: Line, width: number): Line {
  let left = width;
  return line.flatMap(({ text, tone }) => {
    if (left <= 0) return [];
    const part = cut(text, left);
    left -= columnsOf(text);
    return [{ text: part, tone }];
  });
}

/** Those for which there is room. */
function fitting(columns: readonly Column[], width: number): readonly Column[] {
  if (restOf(columns, width) >= LEAST_REST) return columns;
  const [first] = columns.filter(({ spare }) => spare !== undefined).sort((a, b) => a.spare! - b.spare!);
  return first === undefined ? columns : fitting(columns.filter((column) => column !== first), width);
}

function restOf(columns: readonly Column[], width: number): number {
  return width - columns.length - columns.reduce((sum, column) => sum + column.width, 0);
}

function padded({ text, tone }: Cell, { right = false }: Column, width: number, isLast: boolean): Cell {
  const short = cut(text, width);
  const space = ' '.repeat(Math.max(0, width - columnsOf(short)));
  return { text: right ? space + short : isLast ? short : short + space, tone };
}
