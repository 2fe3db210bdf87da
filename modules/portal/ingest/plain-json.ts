export type ValueProblem = 'too_deep' | 'name_forbidden' | 'number_out_of_range';

/** Deeper than anybody's data, shallow enough for every recursive reader that comes after. */
const DEEPEST = 32;

/** Why a parsed JSON value cannot be passed on as it is; undefined when it can. */
export function problemOf(value: unknown, depth = 0): ValueProblem | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : 'number_out_of_range';
  if (typeof value !== 'object' || value === null) return undefined;
  if (depth === DEEPEST) return 'too_deep';
  if (Array.isArray(value)) {
    for (const item of value) {
      const problem = problemOf(item, depth + 1);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
  for (const name in value) {
    // JSON.parse makes it a field like any other; the next assignment would make it a prototype.
    if (name === '__proto__') return 'name_forbidden';
    const inner = (value as Record<string, unknown>)[name];
    if (typeof inner === 'string') continue;
    const problem = problemOf(inner, depth + 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** In JSON text both can only stand as escapes: U+0000, and halves of surrogate pairs (or whole pairs). */
const ESCAPED = /\\u(?:0000|[dD][89a-fA-F])/;

/** True when the text may hold what no database stores: U+0000 or half a surrogate pair. */
export function mayHoldUnstorableText(json: string): boolean {
  return json.includes('\\u') && ESCAPED.test(json);
}

/** The same value with each such character replaced by U+FFFD. For values no deeper than `problemOf` lets through. */
export function storable(value: unknown): unknown {
  if (typeof value === 'string') return storableText(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(storable);
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [storableText(name), storable(inner)]));
}

function storableText(text: string): string {
  const whole = text.isWellFormed() ? text : text.toWellFormed();
  return whole.includes('\0') ? whole.replaceAll('\0', '\ufffd') : whole;
}
