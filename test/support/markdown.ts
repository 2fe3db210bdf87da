/** The fenced blocks of a page in one language, below a heading if one is given (up to the next of its level). */
export function blocksOf(markdown: string, language: string, heading?: string): string[] {
  const from = heading === undefined ? 0 : markdown.indexOf(`\n${heading}\n`);
  if (from < 0) throw new Error(`There is no heading ${heading}.`);
  const level = heading?.match(/^#+/)?.[0] ?? '#';
  const rest = markdown.slice(from + (heading?.length ?? 0) + 2);
  const end = heading === undefined ? -1 : rest.search(new RegExp(`^${level} `, 'm'));
  const section = end < 0 ? rest : rest.slice(0, end);
  return [...section.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].filter(([, name]) => name === language).map(([, , text]) => text!);
}
