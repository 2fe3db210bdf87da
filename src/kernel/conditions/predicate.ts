import type { Condition } from './condition.ts';
import { type PersonFacts, type Properties, type ReadField, readerOf } from './field.ts';

export type Predicate = (given: Properties, person: PersonFacts) => boolean;
type Json = Properties[string];
type Test = (value: Json | undefined) => boolean;
type Comparison = Extract<Condition, { field: string }>;

/**
 * A condition as closures: no source text is generated, so that nothing in a rule can become code. It answers for
 * whatever is given and any person, and never throws.
 *
 * - A field that is missing, or null, has no value: `missing` and `ne` hold, everything else does not.
 * - Nothing is coerced: "5" is not 5. `gt` and its like compare numbers with numbers and text with text (by UTF-16
 *   code units, so that ISO dates are in order); any other pair does not hold.
 * - `eq` goes into lists and objects; `contains` asks for a part of a text or an element of a list.
 * - `ne` is exactly the opposite of `eq`. An empty `all` holds, an empty `any` does not.
 */
export function compileCondition(condition: Condition): Predicate {
  if ('all' in condition) return allOf(condition.all.map(compileCondition));
  if ('any' in condition) return anyOf(condition.any.map(compileCondition));
  if ('not' in condition) {
    const inner = compileCondition(condition.not);
    return (given, person) => !inner(given, person);
  }
  return compare(readerOf(condition.field), testOf(condition));
}

function compare(read: ReadField, test: Test): Predicate {
  return (given, person) => test(read(given, person));
}

/** The short forms are written out: a loop over closures costs twice as much. */
function allOf([a, b, c, ...more]: readonly Predicate[]): Predicate {
  if (a === undefined) return () => true;
  if (b === undefined) return a;
  if (c === undefined) return (given, person) => a(given, person) && b(given, person);
  if (more.length === 0) return (given, person) => a(given, person) && b(given, person) && c(given, person);
  const rest = allOf(more);
  return (given, person) => a(given, person) && b(given, person) && c(given, person) && rest(given, person);
}

function anyOf([a, b, c, ...more]: readonly Predicate[]): Predicate {
  if (a === undefined) return () => false;
  if (b === undefined) return a;
  if (c === undefined) return (given, person) => a(given, person) || b(given, person);
  if (more.length === 0) return (given, person) => a(given, person) || b(given, person) || c(given, person);
  const rest = anyOf(more);
  return (given, person) => a(given, person) || b(given, person) || c(given, person) || rest(given, person);
}

function testOf({ op, value = null }: Comparison): Test {
  switch (op) {
    case 'exists':
      return (found) => found !== undefined && found !== null;
    case 'missing':
      return (found) => found === undefined || found === null;
    case 'eq':
      return equals(value);
    case 'ne': {
      const equal = equals(value);
      return (found) => !equal(found);
    }
    case 'in':
      return oneOf(Array.isArray(value) ? value : []);
    case 'contains':
      return contains(value);
    case 'starts_with':
      return typeof value === 'string' ? (found) => typeof found === 'string' && found.startsWith(value) : never;
    case 'ends_with':
      return typeof value === 'string' ? (found) => typeof found === 'string' && found.endsWith(value) : never;
    default:
      return ordered(op, value);
  }
}

const never: Test = () => false;

function equals(value: Json): Test {
  if (typeof value === 'object') return (found) => found !== undefined && sameJson(found, value);
  return (found) => found === value;
}

function oneOf(values: readonly Json[]): Test {
  const plain: ReadonlySet<Json> = new Set(values.filter((value) => typeof value !== 'object'));
  const nested = values.filter((value) => value !== null && typeof value === 'object').map((value) => ({ value, size: sizeOf(value) }));
  return (found) => {
    if (found === undefined) return false;
    if (nested.length === 0 || typeof found !== 'object' || found === null) return plain.has(found);
    // Once for all values: counting the names of a large object takes a third of a millisecond.
    const size = sizeOf(found);
    return nested.some((one) => one.size === size && sameJson(found, one.value));
  };
}

function contains(value: Json): Test {
  const equal = equals(value);
  if (typeof value !== 'string') return (found) => Array.isArray(found) && found.some(equal);
  return (found) => (typeof found === 'string' ? found.includes(value) : Array.isArray(found) && found.some(equal));
}

function ordered(op: 'gt' | 'gte' | 'lt' | 'lte', value: Json): Test {
  if (typeof value === 'number') return order(op, value, (found): found is number => typeof found === 'number');
  if (typeof value === 'string') return order(op, value, (found): found is string => typeof found === 'string');
  return never;
}

function order<T extends number | string>(op: 'gt' | 'gte' | 'lt' | 'lte', value: T, comparable: (found: Json | undefined) => found is T): Test {
  switch (op) {
    case 'gt':
      return (found) => comparable(found) && found > value;
    case 'gte':
      return (found) => comparable(found) && found >= value;
    case 'lt':
      return (found) => comparable(found) && found < value;
    case 'lte':
      return (found) => comparable(found) && found <= value;
  }
}

/** Goes no deeper than the rule's own value, whose depth was checked when it was saved. */
function sameJson(found: Json, value: Json): boolean {
  if (found === value) return true;
  if (typeof found !== 'object' || typeof value !== 'object' || found === null || value === null) return false;
  if (Array.isArray(found) !== Array.isArray(value)) return false;
  if (sizeOf(found) !== sizeOf(value)) return false;
  const a = found as Properties;
  const b = value as Properties;
  return Object.keys(value).every((key) => Object.hasOwn(a, key) && sameJson(a[key]!, b[key]!));
}

function sizeOf(value: object): number {
  return Array.isArray(value) ? value.length : Object.keys(value).length;
}
