import type { z } from 'zod';

type Issue = z.core.$ZodRawIssue;

const TYPES: Readonly<Record<string, string>> = { string: 'text', int: 'a whole number', number: 'a number', boolean: 'true or false', object: 'a map of fields', record: 'a map of fields', array: 'a list' };
const FORMATS: Readonly<Record<string, string>> = {
  email: 'an e-mail address such as ana@example.com',
  url: 'a URL such as https://mail.agency.example',
  datetime: 'a time such as 2026-11-21T09:00:00Z',
  date: 'a day such as 2026-11-21',
  uuid: 'a UUID',
};

/**
 * What is said of a value where its schema has no words of its own: `must be at most 200`; `is not as described` where
 * no few words tell. For `safeParse(value, { error: mustBe })`, so that no library's English reaches a user.
 */
export function mustBe(issue: Issue): string {
  const wanted = expectation(issue);
  return wanted === undefined ? 'is not as described' : `must be ${wanted}`;
}

function expectation(issue: Issue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return TYPES[wantsWhole(issue) ? 'int' : issue.expected] ?? issue.expected;
    case 'invalid_value':
      return `${issue.values.length === 1 ? '' : 'one of '}${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    case 'too_small':
      return bound(issue.origin, issue.inclusive === false ? `more than ${issue.minimum}` : `at least ${issue.minimum}`);
    case 'too_big':
      return bound(issue.origin, issue.inclusive === false ? `less than ${issue.maximum}` : `at most ${issue.maximum}`);
    case 'invalid_format':
      return FORMATS[issue.format];
    default:
      return undefined;
  }
}

/** A schema of whole numbers asks for a number first. */
function wantsWhole({ inst }: Issue): boolean {
  return (inst?._zod.def as { format?: string } | undefined)?.format === 'safeint';
}

function bound(origin: string, limit: string): string {
  if (origin === 'string') return `text of ${limit} characters`;
  if (origin === 'array' || origin === 'set') return `a list of ${limit}`;
  if (origin === 'object' || origin === 'map' || origin === 'record') return `a map of ${limit} fields`;
  return limit;
}
