import { createRequire } from 'node:module';
import { lineAt, MaskedLiquid } from './liquid-tokens.ts';
import type { Problem } from './liquid-engine.ts';

type Mjml = (source: string, options: object) => Promise<{ html: string; errors: readonly { line: number; message: string; tagName: string }[] }>;

/** MJML takes tens of MB and a fifth of a second or more to load: only where it is needed. Loading it again costs nothing. */
export function loadMjml(): Mjml {
  return createRequire(import.meta.url)('mjml') as Mjml;
}

/** Elements whose inside is HTML or text: Liquid in them stays where it is. */
const ENDING = new Set(['mj-text', 'mj-button', 'mj-table', 'mj-raw', 'mj-title', 'mj-preview', 'mj-style', 'mj-accordion-title', 'mj-accordion-text', 'mj-navbar-link', 'mj-social-element']);
const ELEMENT = '<!--[\\s\\S]*?-->|<(\\/?)(mjml|mj-[a-z-]+)((?:[^>"\']|"[^"]*"|\'[^\']*\')*)>';

interface Element {
  readonly name: string;
  readonly at: number;
}

export type MjmlResult = { readonly html: string } | { readonly problems: readonly Problem[] };

/**
 * MJML to HTML with the Liquid left in. Liquid between elements, which MJML would drop, is kept by wrapping it in
 * mj-raw; within attributes and texts it stays where it is. Nothing is read from disk, and only the fonts that
 * the template names with mj-font are fetched: MJML would have every mail tell Google who opens it.
 */
export async function compileMjml(source: string): Promise<MjmlResult> {
  const masked = new MaskedLiquid(source);
  const wrapped = wrapBetweenElements(masked);
  if (wrapped.problems.length > 0) return { problems: wrapped.problems };
  try {
    const { html, errors } = await loadMjml()(wrapped.mjml, { validationLevel: 'soft', keepComments: false, ignoreIncludes: true, fonts: {} });
    const problems = errors.filter((error) => !isLiquidColour(error.message, masked)).map((error) => problem(error.line, masked.restore(`${error.tagName}: ${error.message.trim()}`)));
    return problems.length > 0 ? { problems } : { html: masked.restore(wrapped.before + html + wrapped.after) };
  } catch (thrown) {
    return { problems: [problem(0, thrown instanceof Error ? thrown.message : String(thrown))] };
  }
}

/** MJML cannot know that Liquid will make a colour; a width it must know, since it computes with it. */
function isLiquidColour(message: string, masked: MaskedLiquid): boolean {
  return message.includes('for type Color') && masked.restore(message) !== message;
}

function wrapBetweenElements(masked: MaskedLiquid): { mjml: string; before: string; after: string; problems: Problem[] } {
  const { text } = masked;
  const open: Element[] = [];
  const problems: Problem[] = [];
  const out = { mjml: '', before: '', after: '' };
  let at = 0;
  let seenRoot = false;
  for (const found of text.matchAll(new RegExp(`${ELEMENT}|${masked.word.source}`, 'g'))) {
    const [whole, slash, name, rest] = found;
    const top = open.at(-1);
    const inText = top !== undefined && ENDING.has(top.name);
    out.mjml += text.slice(at, found.index);
    at = found.index + whole.length;
    if (name === undefined) {
      if (whole.startsWith('<!--') || inText) out.mjml += whole;
      else if (top !== undefined) out.mjml += `<mj-raw>${whole}</mj-raw>`;
      else out[seenRoot ? 'after' : 'before'] += whole;
      continue;
    }
    out.mjml += whole;
    seenRoot = true;
    // MJML would leave it out and say nothing.
    if (name === 'mj-include') problems.push(problem(lineOf(masked, found.index), 'mj-include: nothing is read from files; put the content here'));
    if (slash === '/') {
      if (inText && top.name !== name) continue;
      problems.push(...close(open, name, found.index).map(({ at, message }) => problem(lineOf(masked, at), message)));
    } else if (!inText && !rest!.trimEnd().endsWith('/')) {
      open.push({ name, at: found.index });
    }
  }
  out.mjml += text.slice(at);
  for (const element of open) problems.push(problem(lineOf(masked, element.at), `<${element.name}> is never closed`));
  return { ...out, problems };
}

/** Takes the element off the stack, and with it those inside that nobody has closed. */
function close(open: Element[], name: string, at: number): { at: number; message: string }[] {
  const depth = open.findLastIndex((element) => element.name === name);
  if (depth < 0) return [{ at, message: `</${name}> closes nothing` }];
  return open.splice(depth).slice(1).map((element) => ({ at: element.at, message: `<${element.name}> is never closed` }));
}

function lineOf(masked: MaskedLiquid, offset: number): number {
  const before = masked.restore(masked.text.slice(0, offset));
  return lineAt(before, before.length);
}

function problem(line: number, message: string): Problem {
  return { part: 'body', line, message: message.slice(0, 300) };
}
