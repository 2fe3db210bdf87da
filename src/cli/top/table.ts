/** How a cell is shown on a terminal; text for people without colours is the same but for these. */
export type Tone = 'plain' | 'faint' | 'strong' | 'good' | 'bad' | 'warn';
export interface Cell {
  readonly text: string;
  readonly tone: Tone;
}
export type Line = readonly Cell[];

export interface Column {
  readonly title: string;
  /** Characters; the one column with 0 takes what is left. */
  readonly width: number;
  readonly right?: boolean;
}

export function cell(text: string, tone: Tone = 'plain'): Cell {
  return { text, tone };
}

/** The head and a line for each row, `width` characters wide with a margin of one on the left. */
export function table(columns: readonly Column[], rows: readonly (readonly Cell[])[], width: number): Line[] {
  const widths = columns.map((column) => (column.width === 0 ? roomIn(columns, width) : column.width));
  const lineOf = (cells: readonly Cell[]): Line => {
    const last = cells.length - 1;
    return [cell(' '), ...cells.flatMap(({ text, tone }, at) => [cell(fit(text, widths[at]!, columns[at]!.right === true, at === last), tone), ...(at === last ? [] : [cell(' ')])])];
  };
  return [lineOf(columns.map(({ title }) => cell(title, 'faint'))), ...rows.map(lineOf)];
}

/** Characters that are left for the column without a width of its own. */
export function roomIn(columns: readonly Column[], width: number): number {
  return width - columns.length - columns.reduce((sum, column) => sum + column.width, 0);
}

function fit(text: string, width: number, right: boolean, isLast: boolean): string {
  const cut = [...text].length > width ? `${[...text].slice(0, width - 1).join('')}…` : text;
  return right ? cut.padStart(width) : isLast ? cut : cut.padEnd(width);
}

/** Words over as many lines as they need, the later ones indented. */
export function wrapped(text: string, width: number, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = `${indent}${word}`;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].map((each) => (each.length > width ? `${each.slice(0, width - 1)}…` : each));
}
