import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { Attributes, ConsentState, Person } from '../contract.ts';

/** Who said so last. What `person` or `api` denied, traits never bring back. */
export type ConsentSource = 'nobody' | 'traits' | 'api' | 'person';

export interface Consent {
  readonly state: ConsentState;
  readonly by: ConsentSource;
  readonly at: EpochMs;
}

/**
 * A person as portal keeps it. Values are never changed in place: an event carries the state that held right after it.
 *
 * Every attribute (and `email`, `timeZone`) is a register of its own with a stamp, and the higher stamp wins. So the
 * order in which identifies and merges arrive does not matter, as long as no two of them have the same stamp.
 */
export interface PersonState {
  readonly id: string;
  readonly version: number;
  readonly userId: string | null;
  readonly email: string | null;
  readonly attributes: Attributes;
  /** By attribute; one without a value was deleted. */
  readonly stamps: Readonly<Record<string, number>>;
  readonly timeZone: string | null;
  readonly consent: Consent;
  readonly gone: boolean;
  /** Where this person went up in; never itself merged. Null for everybody else. */
  readonly mergedInto: string | null;
  readonly createdAt: EpochMs;
  readonly updatedAt: EpochMs;
}

/**
 * Puts whatever was said of an anonymous visitor below everything that was said of a known person, while each keeps
 * its order in time: 10^15 ms lie beyond every time that is accepted.
 */
const ANONYMOUS = 1e15;

/** @param known whether the message named the person by her user id. */
export function stampOf(time: EpochMs, known: boolean): number {
  return known ? time : time - ANONYMOUS;
}

export function newPerson(id: string, userId: string | null, now: EpochMs): PersonState {
  return {
    id,
    version: 1,
    userId,
    email: null,
    attributes: {},
    stamps: {},
    timeZone: null,
    consent: { state: 'unknown', by: 'nobody', at: 0 },
    gone: false,
    mergedInto: null,
    createdAt: now,
    updatedAt: now,
  };
}

/** What other modules get to see. */
export function toPerson(state: PersonState): Person {
  return {
    personId: state.id,
    version: state.version,
    userId: state.userId,
    email: state.email,
    attributes: state.attributes,
    timeZone: state.timeZone,
    consent: { email: state.consent.state },
    gone: state.gone,
  };
}

/** `after` with the version that it deserves: one more than `before`'s when anything that can be seen differs. */
export function asChangeOf(before: PersonState, after: PersonState, now: EpochMs): PersonState {
  return before === after || !looksDifferent(before, after) ? after : { ...after, version: before.version + 1, updatedAt: now };
}

function looksDifferent(a: PersonState, b: PersonState): boolean {
  return (
    a.email !== b.email ||
    a.userId !== b.userId ||
    a.timeZone !== b.timeZone ||
    a.consent.state !== b.consent.state ||
    a.gone !== b.gone ||
    (a.attributes !== b.attributes && !sameJson(a.attributes, b.attributes))
  );
}

/** Equal JSON values; the order of keys does not count. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((value, i) => sameJson(value, b[i]));
  if (Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && sameJson((a as Attributes)[key], (b as Attributes)[key]));
}
