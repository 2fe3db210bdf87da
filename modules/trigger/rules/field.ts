import type { Attributes } from '../../portal/contract.ts';

/** An event's properties. */
export type Properties = Attributes;
export type Json = Attributes[string];

/** What conditions may ask about a person. */
export interface PersonFacts {
  readonly email: string | null;
  /** IANA name. */
  readonly timeZone: string | null;
  readonly attributes: Attributes;
}

/** Reads one field of the event or the person. Undefined when any part of the path is missing. */
export type ReadField = (event: Properties, person: PersonFacts) => Json | undefined;

/**
 * The reader of a path such as `event.order.total` or `person.city`. Only a value's own properties are seen, so that
 * `constructor` or `__proto__` are names like any other; elements of a list go by their position.
 */
export function readerOf(field: string): ReadField {
  const [root, ...keys] = field.split('.') as [string, string, ...string[]];
  if (root === 'person' && keys.length === 1 && keys[0] === 'email') return (_, person) => person.email ?? undefined;
  if (root === 'person' && keys.length === 1 && keys[0] === 'timeZone') return (_, person) => person.timeZone ?? undefined;
  const from: ReadField = root === 'event' ? (event) => event : (_, person) => person.attributes;
  if (keys.length > 1) return (event, person) => walk(from(event, person), keys);
  const key = keys[0]!;
  return root === 'event' ? (event) => own(event, key) : (_, person) => own(person.attributes, key);
}

function walk(value: Json | undefined, keys: readonly string[]): Json | undefined {
  for (const key of keys) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = own(value as Properties, key);
  }
  return value;
}

function own(value: Properties, key: string): Json | undefined {
  if (!Object.hasOwn(value, key)) return undefined;
  return key === 'length' && Array.isArray(value) ? undefined : value[key];
}
