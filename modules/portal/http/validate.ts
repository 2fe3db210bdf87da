import type { z } from 'zod';
import { mustBe } from '../../../src/kernel/wording.ts';
import { Fault, type Json } from '../../../src/kernel/fault.ts';

type Place = 'body' | 'query' | 'path' | 'header';

const MOST_ERRORS = 20;
const DEEPEST = 64;
const LONGEST_SHOWN = 40;

interface FieldError {
  readonly in: Place;
  /** `draft.from.email`; empty for the whole. */
  readonly field: string;
  /** What kind of value was there. */
  readonly kind: string;
  /** Shows of the value only what cannot be personal: a number, and in a query what stands for a number or a choice. */
  readonly problem: string;
  readonly remedy: string;
}

/**
 * The value as the schema has it. Fault `invalid`/`fields_invalid` with every problem at once in details.errors; a field
 * that the schema does not know is a problem too, at any depth, since it is mostly a misspelt one.
 */
export function validate<T>(schema: z.ZodType<T>, value: unknown, place: Place): T {
  const result = schema.safeParse(value, { error: mustBe });
  const errors = result.success ? unknownFields(value, result.data, '', place) : result.error.issues.flatMap((issue) => errorsOf(issue, value, place));
  if (errors.length > 0) throw fieldsInvalid(errors);
  return result.data as T;
}

export function fieldsInvalid(errors: readonly FieldError[]): Fault {
  const [first] = errors;
  const name = first?.field === '' ? `the ${first.in}` : first?.field;
  return new Fault('invalid', `${errors.length === 1 ? 'One field is' : `${errors.length} fields are`} not valid: ${name}: ${first?.problem}`, {
    reason: 'fields_invalid',
    details: { errors: errors.slice(0, MOST_ERRORS) as unknown as Json },
  });
}

/** One field, for what is found without a schema. */
export function fieldInvalid(place: Place, field: string, kind: string, problem: string, remedy: string): Fault {
  return fieldsInvalid([{ in: place, field, kind, problem, remedy }]);
}

/**
 * Text that JSON allows and storage does not, and nesting that would exhaust the stack of whoever walks it.
 * Fault `invalid` naming the field.
 */
export function requireSafeJson(value: unknown): void {
  const stack: { value: unknown; path: string; depth: number }[] = [{ value, path: '', depth: 0 }];
  for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
    if (typeof item.value === 'string') requireSafeText(item.value, item.path);
    if (typeof item.value !== 'object' || item.value === null) continue;
    if (item.depth >= DEEPEST) throw fieldInvalid('body', item.path.slice(0, 200), kindOf(item.value), `is nested more than ${DEEPEST} levels deep`, 'Send a flatter value.');
    for (const [key, inner] of Object.entries(item.value)) {
      requireSafeText(key, item.path);
      stack.push({ value: inner, path: item.path === '' ? key : `${item.path}.${key}`, depth: item.depth + 1 });
    }
  }
}

function requireSafeText(text: string, path: string): void {
  if (!text.isWellFormed()) throw fieldInvalid('body', path, 'string', 'holds half of a surrogate pair', 'Send text that is valid Unicode.');
  if (text.includes('\0')) throw fieldInvalid('body', path, 'string', 'holds a NUL character', 'Remove it.');
}

/** What zod left out of its answer was in no schema. */
function unknownFields(input: unknown, output: unknown, path: string, place: Place): FieldError[] {
  if (typeof input !== 'object' || input === null || typeof output !== 'object' || output === null) return [];
  return Object.keys(input).flatMap((key) => {
    const field = path === '' ? key : `${path}.${key}`;
    const inner = (input as Record<string, unknown>)[key];
    if (!Object.hasOwn(output, key)) return [unknownField(field, inner, place)];
    return unknownFields(inner, (output as Record<string, unknown>)[key], field, place);
  });
}

function unknownField(field: string, value: unknown, place: Place): FieldError {
  return { in: place, field, kind: kindOf(value), problem: 'there is no such field', remedy: 'Remove it, or correct its name.' };
}

function errorsOf(issue: z.core.$ZodIssue, root: unknown, place: Place, base: readonly PropertyKey[] = []): FieldError[] {
  const path = [...base, ...issue.path];
  const field = path.map(String).join('.');
  const found = path.reduce<unknown>((value, key) => (typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<PropertyKey, unknown>)[key] : undefined), root);
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownField(field === '' ? key : `${field}.${key}`, (found as Record<string, unknown> | undefined)?.[key], place));
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    // The alternative that came the furthest is the one that was meant.
    const nearest = issue.errors.reduce((best, errors) => (deepest(errors) > deepest(best) ? errors : best));
    return nearest.flatMap((inner) => errorsOf(inner, root, place, path));
  }
  return [{ in: place, field, kind: kindOf(found), problem: found === undefined ? 'is missing' : `${issue.message}${foundIn(issue, found, place)}`, remedy: remedyOf(issue, found) }];
}

function deepest(issues: readonly z.core.$ZodIssue[]): number {
  return Math.max(...issues.map((issue) => issue.path.length + (issue.code === 'invalid_union' ? Math.max(0, ...issue.errors.map(deepest)) : 0)));
}

function foundIn(issue: z.core.$ZodIssue, found: unknown, place: Place): string {
  const isShown = typeof found === 'number' || (place === 'query' && (issue.code === 'invalid_type' || issue.code === 'invalid_value'));
  return isShown ? `; found ${JSON.stringify(found).slice(0, LONGEST_SHOWN)}` : '';
}

function remedyOf({ message }: z.core.$ZodIssue, found: unknown): string {
  const wanted = /^must be (.+)$/s.exec(message)?.[1];
  if (wanted === undefined) return 'See /api/openapi.json for what belongs here.';
  return `${found === undefined ? 'Give this field:' : 'Send'} ${wanted}.`;
}

export function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/**
 * Texts as the schema's types: digits where it wants a number, `true` and `false` where it wants a boolean.
 * Fault `invalid` for a name that comes twice.
 */
export function readTexts(schema: z.ZodObject, texts: Iterable<[string, string]>, place: Place): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, text] of texts) {
    if (Object.hasOwn(values, name)) throw fieldInvalid(place, name, 'string', 'is given more than once', 'Give it once.');
    if (!text.isWellFormed() || text.includes('\0')) throw fieldInvalid(place, name, 'string', 'is not valid text', 'Send text that is valid Unicode without NUL.');
    Object.defineProperty(values, name, { value: Object.hasOwn(schema.shape, name) ? convert(schema.shape[name], text) : text, enumerable: true });
  }
  return values;
}

function convert(schema: unknown, text: string): unknown {
  const type = innerType(schema);
  if (type === 'number') return /^-?\d{1,16}$/.test(text) ? Number(text) : text;
  if (type === 'boolean') return text === 'true' ? true : text === 'false' ? false : text;
  return text;
}

function innerType(schema: unknown): string {
  const def = (schema as { _zod: { def: { type: string; innerType?: unknown } } })._zod.def;
  return def.innerType === undefined ? def.type : innerType(def.innerType);
}
