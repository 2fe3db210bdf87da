import { createHash } from 'node:crypto';
import { z } from 'zod';

/** What JSON cannot carry, or carries ambiguously. Any zod type not named here is fine or wraps one that is looked at. */
const REFUSED: Readonly<Record<string, string>> = {
  date: 'a Date becomes a string; use epoch milliseconds or z.iso.datetime()',
  map: 'a Map becomes {}; use z.record()',
  set: 'a Set becomes {}; use z.array()',
  bigint: 'a bigint cannot be JSON; use a string',
  symbol: 'a symbol cannot be JSON',
  undefined: 'undefined cannot be JSON; use null or leave the field out with .optional()',
  void: 'undefined cannot be JSON; answer an empty object',
  function: 'a function cannot be JSON',
  promise: 'a promise cannot be JSON',
  nan: 'NaN becomes null',
  file: 'a file goes through the blob port',
  custom: 'nothing says what a custom type is in JSON',
  transform: 'a value must be the same on both sides; transform it in the module',
  any: 'say what it is; use z.json() for free JSON',
  unknown: 'say what it is; use z.json() for free JSON',
};

interface Definition {
  readonly type: string;
  readonly [key: string]: unknown;
}

/**
 * Refuses a schema whose values would not be the same after a trip through JSON. All problems at once.
 * @throws TypeError that names each field and what to use instead.
 */
export function requireJsonSafe(schema: z.ZodType, where: string): void {
  const problems: string[] = [];
  visit(schema, where, problems, new Set());
  if (problems.length > 0) throw new TypeError(`Not JSON-safe:\n${problems.map((p) => `  ${p}`).join('\n')}`);
}

function visit(schema: unknown, path: string, problems: string[], seen: Set<unknown>): void {
  if (!isSchema(schema) || seen.has(schema)) return;
  seen.add(schema);
  const def = schema._zod.def;
  if (isFreeJson(schema)) return;
  const why = REFUSED[def.type];
  if (why !== undefined) problems.push(`${path}: ${why}.`);
  if (def.type === 'optional' && holdsNull(def.innerType)) {
    problems.push(`${path}: optional and nullable at once leaves two ways to say nothing; keep one.`);
  }
  for (const [name, child] of children(def)) visit(child, name === '' ? path : `${path}.${name}`, problems, seen);
}

function children(def: Definition): [string, unknown][] {
  const found: [string, unknown][] = [];
  if (def.shape !== null && typeof def.shape === 'object') found.push(...Object.entries(def.shape));
  for (const key of ['element', 'innerType', 'keyType', 'valueType', 'in', 'out', 'left', 'right', 'catchall', 'rest']) {
    if (isSchema(def[key])) found.push([key === 'element' ? '[]' : '', def[key]]);
  }
  for (const key of ['options', 'items']) {
    if (Array.isArray(def[key])) found.push(...def[key].map((option): [string, unknown] => ['', option]));
  }
  if (def.type === 'lazy' && typeof def.getter === 'function') found.push(['', (def.getter as () => unknown)()]);
  return found;
}

function holdsNull(schema: unknown): boolean {
  return isSchema(schema) && (schema._zod.def.type === 'nullable' || schema._zod.def.type === 'null' || holdsNull(schema._zod.def.innerType));
}

/** z.json() is a lazy union of its own. */
function isFreeJson(schema: { _zod: { def: Definition } }): boolean {
  return schema._zod.def.type === 'lazy' && freeJson.has(schema);
}

function isSchema(value: unknown): value is { _zod: { def: Definition } } {
  return typeof value === 'object' && value !== null && '_zod' in value;
}

const freeJson = new WeakSet<object>();

/** Any JSON value. One schema for all, so that what carries it can be told apart from a forgotten type. */
export const AnyJson = z.json();
freeJson.add(AnyJson);
// What is JSON already is taken as it is: zod would copy it, and leave out keys that are called __proto__.
const runAnyJson = AnyJson._zod.run;
AnyJson._zod.run = (payload, context) => (isJson(payload.value) ? payload : runAnyJson(payload, context));

function isJson(value: unknown): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isFinite(value);
  // `every` passes over holes.
  if (Array.isArray(value)) return !value.includes(undefined) && value.every(isJson);
  if (typeof value !== 'object') return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && Object.values(value).every(isJson);
}

/** The JSON Schema (draft 2020-12) of what goes in, with keys in a fixed order. */
export function jsonSchemaOf(schema: z.ZodType): object {
  return sortKeys(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', override: ({ jsonSchema }) => void jsonSchema.required?.sort() })) as object;
}

/** The same for equal shapes, on every machine: SHA-256 of the schemas in canonical order, 16 hex digits. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex').slice(0, 16);
}

/** JSON text with sorted keys (RFC 8785 for the values that a contract can carry). */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(sortKeys(value));
}

/** The same value with the keys of every object in order. */
export function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, inner]) => [key, sortKeys(inner)]),
  );
}
