import { beginningOf, columnsOf } from './top/text.ts';

/** What goes on in the next line stands deeper than any row. */
const INDENT = '      ';

/** Text for a terminal that is `width` columns wide: rows that are wider go on in the next line, between two of their cells where that is possible. As it is, where there is no width. */
export function folded(text: string, width: number | undefined): string {
  if (width === undefined) return text;
  return text
    .split('\n')
    .flatMap((line) => foldedLine(line, Math.max(width, 4 * INDENT.length)))
    .join('\n');
}

function foldedLine(line: string, width: number): string[] {
  const lines: string[] = [];
  let left = line;
  while (columnsOf(left) > width) {
    const [begins] = /^ */.exec(left)!;
    const room = beginningOf(left, width + 1);
    // Between cells, else between words, else anywhere.
    const at = [room.lastIndexOf('  '), room.lastIndexOf(' '), room.length - 1].find((place) => place > begins.length)!;
    lines.push(left.slice(0, at).trimEnd());
    left = INDENT + left.slice(at).trimStart().replaceAll(/ {2,}/g, '  ');
  }
  return [...lines, left];
}
