import { Context, Liquid, type Template } from 'liquidjs';
import { RENDER_TIME_REACHED, renderTimeLimit } from './render-time.ts';

/** What one version of a template consists of; Liquid in each. */
export interface TemplateSource {
  readonly subject: string;
  readonly html: string;
  readonly text: string;
  readonly fromName: string;
}
export type TemplatePart = keyof TemplateSource;
export const PARTS = ['subject', 'html', 'text', 'fromName'] as const satisfies readonly TemplatePart[];

export interface Problem {
  /** The part of the template as its author knows it. */
  readonly part: 'subject' | 'body' | 'text' | 'from';
  /** 1 is the first; 0 when the problem is not on one line. */
  readonly line: number;
  readonly message: string;
}

/** Characters that a finished part may have; RFC 5322 allows 998 in a line, and no provider shows more of a subject. */
const MOST_CHARS: Readonly<Record<TemplatePart, number>> = { subject: 998, html: 1_000_000, text: 1_000_000, fromName: 200 };
const AUTHOR_PART: Readonly<Record<TemplatePart, Problem['part']>> = { subject: 'subject', html: 'body', text: 'text', fromName: 'from' };

/**
 * Limits that end an honest mistake with a clear message. They are the first fence only: libraries' limits have been
 * got around before, which is why rendering happens where it can be killed.
 */
const LIMITS = { parseLimit: 2_000_000, memoryLimit: 10_000_000 };
/** Of a processor, for one part. */
const RENDER_MS = 1_000;
/** Liquid's words for its limits, and what an author can do. */
const LIMIT_REACHED: Readonly<Record<string, string>> = {
  'memory alloc limit exceeded': `makes too much text or loops too long: at most ${LIMITS.memoryLimit} characters and list items may go into one mail. Shorten what it repeats, or end its loops early with "limit:"`,
  [RENDER_TIME_REACHED]: `takes longer than ${RENDER_MS} ms for one mail. Loop over fewer items, or end its loops early with "limit:"`,
  'parse length limit exceeded': `is longer than ${LIMITS.parseLimit} characters. Shorten it`,
};
/** Other templates are out of reach: what a mail says stands in one place, and nothing is read from disk. */
const NO_TAGS = ['include', 'render', 'layout', 'block'];

function engine(escapes: boolean): Liquid {
  const liquid = new Liquid({
    ...LIMITS,
    ...(escapes ? { outputEscape: 'escape' as const } : {}),
    ownPropertyOnly: true,
    strictFilters: true,
    timezoneOffset: 0,
    locale: 'en-US',
    templates: {},
  });
  for (const tag of NO_TAGS) delete liquid.tags[tag];
  if (escapes) keepEscapedOnce(liquid);
  return liquid;
}

type FilterFunction = (this: unknown, ...values: unknown[]) => unknown;

/** Authors who escape by hand must not see it done twice, and line breaks they ask for must stay. */
function keepEscapedOnce(liquid: Liquid): void {
  const escapeOnce = liquid.filters['escape_once'] as FilterFunction;
  for (const name of ['escape', 'xml_escape', 'escape_once']) {
    liquid.registerFilter(name, { raw: true, handler: liquid.filters[name] as FilterFunction });
  }
  liquid.registerFilter('newline_to_br', {
    raw: true,
    handler(this: unknown, value: unknown) {
      return String(escapeOnce.call(this, value)).replace(/\r?\n/g, '<br />\n');
    },
  });
}

const inHtml = engine(true);
const inText = engine(false);
const engineOf = (part: TemplatePart): Liquid => (part === 'html' ? inHtml : inText);

/** A template version, parsed. Constant parts stay text. */
export class ParsedTemplate {
  readonly #parts: Readonly<Record<TemplatePart, string | Template[]>>;

  /** @throws TemplateProblems */
  constructor(source: TemplateSource) {
    const problems = problemsOf(source);
    if (problems.length > 0) throw new TemplateProblems(problems);
    this.#parts = Object.fromEntries(PARTS.map((part) => [part, isConstant(source[part]) ? source[part] : engineOf(part).parse(source[part])])) as Record<TemplatePart, string | Template[]>;
  }

  /** @throws TemplateProblems */
  render(data: object): TemplateSource {
    const rendered = {} as Record<TemplatePart, string>;
    for (const part of PARTS) rendered[part] = this.#renderPart(part, data);
    return rendered;
  }

  #renderPart(part: TemplatePart, data: object): string {
    const parsed = this.#parts[part];
    if (typeof parsed === 'string') return parsed;
    const text = attempt(part, () => renderWith(engineOf(part), parsed, data));
    if (text.length > MOST_CHARS[part]) {
      throw new TemplateProblems([{ part: AUTHOR_PART[part], line: 0, message: `came out ${text.length} characters long; the most is ${MOST_CHARS[part]}` }]);
    }
    return text;
  }
}

function renderWith(liquid: Liquid, parsed: Template[], data: object): string {
  return liquid.renderSync(parsed, new Context(data, liquid.options, { sync: true }, { liquid, renderLimit: renderTimeLimit(RENDER_MS) })) as string;
}

/** Everything that is wrong with a template's Liquid. */
export function problemsOf(source: TemplateSource): Problem[] {
  return PARTS.flatMap((part) => {
    if (source[part].length > MOST_CHARS[part]) return [{ part: AUTHOR_PART[part], line: 0, message: `is longer than ${MOST_CHARS[part]} characters` }];
    if (isConstant(source[part])) return [];
    try {
      engineOf(part).parse(source[part]);
      return [];
    } catch (thrown) {
      return [problemOf(part, thrown)];
    }
  });
}

export class TemplateProblems extends Error {
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    super(problems.map((problem) => `${problem.part}, line ${problem.line}: ${problem.message}`).join('; '));
    this.problems = problems;
  }
}

function attempt<T>(part: TemplatePart, work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    throw new TemplateProblems([problemOf(part, thrown)]);
  }
}

/** Liquid's errors name the place at the end of their message, and hold it. */
function problemOf(part: TemplatePart, thrown: unknown): Problem {
  const error = thrown as { message?: string; token?: { getPosition?: () => [number, number] } };
  const line = error.token?.getPosition?.()[0] ?? 0;
  const message = (error.message ?? String(thrown)).replace(/,?\s*(file:\S+,\s*)?line:\d+, col:\d+$/, '').slice(0, 300);
  return { part: AUTHOR_PART[part], line, message: LIMIT_REACHED[message] ?? message };
}

function isConstant(text: string): boolean {
  return !text.includes('{{') && !text.includes('{%');
}
