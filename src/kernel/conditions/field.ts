import type { z } from 'zod';
import type { AnyJson } from '../json-schema.ts';

type Json = z.infer<typeof AnyJson>;

/** Values by name, such as an event's properties. */
export type Properties = Record<string, Json>;

/** What conditions may ask about a person. */
export interface PersonFacts {
  readonly email: string | null;
  /** IANA name. */
  readonly timeZone: string | null;
  readonly attributes: Properties;
}

/** Reads one field of what is given or of the person. Undefined when any part of the path is missing. */
export type ReadField = (given: Properties, person: PersonFacts) => Json | undefined;

/** Names that a value may have from its prototype. */
const INHERITED = [Object.prototype, Array.prototype];

/**
 * The reader of a path such as `event.order.total` or `person.city`: the root `person` reads the person, any other what
 * is given. Only a value's own properties are seen, so that
 * `constructor` or `__proto__` are names like any other; elements of a list go by their position.
 */
export function readerOf(field: string): ReadField {
  const [root, ...keys] = field.split('.') as [string, string, ...string[]];
  if (root === 'person' && keys.length === 1 && keys[0] === 'email') return (_, person) => person.email ?? undefined;
  if (root === 'person' && keys.length === 1 && keys[0] === 'timeZone') return (_, person) => person.timeZone ?? undefined;
  const isPlain = !keys.some((key) => INHERITED.some((prototype) => key in prototype));
  if (keys.length === 1 && isPlain) {
    const key = keys[0]!;
    return root === 'person' ? (_, person) => person.attributes[key] : (given) => given[key];
  }
  const walk = isPlain ? walkPlain : walkOwn;
  return root === 'person' ? (_, person) => walk(person.attributes, keys) : (given) => walk(given, keys);
}

/** For names that no prototype has: asking whether a property is a value's own costs more than reading it. */
function walkPlain(value: Json | undefined, keys: readonly string[]): Json | undefined {
  for (const key of keys) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Properties)[key];
  }
  return value;
}

function walkOwn(value: Json | undefined, keys: readonly string[]): Json | undefined {
  for (const key of keys) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    if (key === 'length' && Array.isArray(value)) return undefined;
    value = (value as Properties)[key];
  }
  return value;
}
