import { problemsOf, type Problem, type TemplateSource } from './liquid-engine.ts';
import { MaskedLiquid } from './liquid-tokens.ts';
import { compileMjml } from './mjml-compiler.ts';
import { plainTextOf } from './plain-text.ts';
import type { AuthoredContent } from './protocol.ts';

/** What publishing makes of a template: MJML is HTML, the plain text is there, and the Liquid has been parsed once. */
export async function compileContent(content: AuthoredContent): Promise<{ readonly parts: TemplateSource } | { readonly problems: readonly Problem[] }> {
  const written = { subject: content.subject, html: content.body, text: content.text ?? '', fromName: content.fromName };
  // First as written, so that the lines are the author's.
  const problems = problemsOf(written);
  if (problems.length > 0) return { problems };
  const compiled = content.format === 'mjml' ? await compileMjml(content.body) : { html: content.body };
  if ('problems' in compiled) return compiled;
  const parts = { ...written, html: compiled.html, text: content.text ?? derivedText(compiled.html) };
  const lateProblems = problemsOf(parts).map((problem) => ({ ...problem, line: 0 }));
  return lateProblems.length > 0 ? { problems: lateProblems } : { parts };
}

/** Where dropping the markup has torn Liquid's blocks apart, their tags go too: the text is then the same for all. */
function derivedText(html: string): string {
  const text = plainTextOf(html);
  if (problemsOf({ subject: '', html: '', text, fromName: '' }).length === 0) return text;
  const masked = new MaskedLiquid(text);
  return masked.text.replace(masked.word, (_, index: string) => (masked.token(Number(index)).startsWith('{{') ? masked.token(Number(index)) : ''));
}
