import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { Attributes } from '../contract.ts';
import { CONSENT_TRAITS, consentFromTrait, mergedConsent, withTraitConsent } from './consent.ts';
import { isEmail } from './email-address.ts';
import { type PersonState, sameJson } from './person-state.ts';
import { isTimeZone } from './time-zone.ts';

export const MOST_ATTRIBUTES = 500;
/** As compact JSON in UTF-8. */
export const MOST_ATTRIBUTES_BYTES = 32_768;
export const LONGEST_ATTRIBUTE_NAME = 200;

/** Why a trait, or all of a message's traits, were not taken. Names only, never values. */
export interface TraitProblem {
  readonly reason: 'email_invalid' | 'time_zone_invalid' | 'consent_invalid' | 'attribute_name_invalid' | 'attributes_too_many' | 'attributes_too_large';
  readonly trait: string | null;
}

export interface TraitResult {
  readonly state: PersonState;
  readonly problems: readonly TraitProblem[];
}

const TIME_ZONE_TRAITS: ReadonlySet<string> = new Set(['timeZone', 'timezone']);

interface Draft {
  email: string | null;
  timeZone: string | null;
  attributes: Record<string, Attributes[string]>;
  stamps: Record<string, number>;
  consent: PersonState['consent'];
}

/**
 * The person with the traits merged in, each by its stamp; at equal stamps the later arrival wins. Shallow: an object
 * replaces an object. Null deletes. `email`, `timeZone` (also `timezone`), `unsubscribed` and `emailConsent` go to
 * where they belong. What cannot be taken is left out and named; when the whole would grow too large none is taken.
 */
export function withTraits(state: PersonState, traits: Attributes, stamp: number, time: EpochMs): TraitResult {
  const draft: Draft = { email: state.email, timeZone: state.timeZone, attributes: { ...state.attributes }, stamps: { ...state.stamps }, consent: state.consent };
  const problems: TraitProblem[] = [];
  for (const name of Object.keys(traits)) {
    const problem = take(draft, name, traits[name]!, stamp, time);
    if (problem !== undefined) problems.push({ reason: problem, trait: name.slice(0, LONGEST_ATTRIBUTE_NAME) });
  }
  const tooMuch = tooLarge(draft);
  if (tooMuch === undefined) return { state: { ...state, ...draft }, problems };
  // What was said of consent counts whatever came with it.
  return { state: { ...state, consent: draft.consent }, problems: [...problems, { reason: tooMuch, trait: null }] };
}

/** `known` with everything of `other` that has the higher stamp; at equal ones `known` wins. */
export function mergeOf(known: PersonState, other: PersonState): PersonState {
  const draft: Draft = { email: known.email, timeZone: known.timeZone, attributes: { ...known.attributes }, stamps: { ...known.stamps }, consent: mergedConsent(known.consent, other.consent) };
  for (const name of Object.keys(other.stamps)) {
    const stamp = other.stamps[name]!;
    if (!isNewer(draft, name, stamp, false)) continue;
    put(draft, name, valueOf(other, name), stamp);
  }
  // Better a person without the other's attributes than one that no event can carry.
  return tooLarge(draft) === undefined ? { ...known, ...draft } : { ...known, consent: draft.consent };
}

function take(draft: Draft, name: string, value: Attributes[string], stamp: number, time: EpochMs): TraitProblem['reason'] | undefined {
  if (CONSENT_TRAITS.has(name)) {
    const said = consentFromTrait(name, value);
    if (said !== undefined) draft.consent = withTraitConsent(draft.consent, said, time);
    return said === undefined && value !== null ? 'consent_invalid' : undefined;
  }
  const register = TIME_ZONE_TRAITS.has(name) ? 'timeZone' : name;
  if (!isAttributeName(register)) return 'attribute_name_invalid';
  if (register === 'email' && value !== null && !isEmail(value)) return 'email_invalid';
  if (register === 'timeZone' && value !== null && !isTimeZone(value)) return 'time_zone_invalid';
  if (isNewer(draft, register, stamp, true)) put(draft, register, value, stamp);
  return undefined;
}

/** Null for one that was deleted; `constructor` is an attribute only when somebody gave it. */
function valueOf({ email, timeZone, attributes }: PersonState, name: string): Attributes[string] {
  if (name === 'email') return email;
  if (name === 'timeZone') return timeZone;
  return Object.hasOwn(attributes, name) ? attributes[name]! : null;
}

function isNewer(draft: Draft, name: string, stamp: number, orEqual: boolean): boolean {
  const held = Object.hasOwn(draft.stamps, name) ? draft.stamps[name]! : undefined;
  return held === undefined || stamp > held || (orEqual && stamp === held);
}

function put(draft: Draft, name: string, value: Attributes[string], stamp: number): void {
  draft.stamps[name] = stamp;
  if (name === 'email') draft.email = value as string | null;
  else if (name === 'timeZone') draft.timeZone = value as string | null;
  else if (value === null) delete draft.attributes[name];
  else if (!Object.hasOwn(draft.attributes, name) || !sameJson(draft.attributes[name], value)) draft.attributes[name] = value;
}

/** `__proto__` would be a prototype, not an attribute. */
export function isAttributeName(name: string): boolean {
  return name.length > 0 && name.length <= LONGEST_ATTRIBUTE_NAME && name !== '__proto__';
}

/** Deleted ones count too: their stamps are kept. */
function tooLarge(draft: Draft): 'attributes_too_many' | 'attributes_too_large' | undefined {
  const names = Object.keys(draft.stamps);
  if (names.length > MOST_ATTRIBUTES) return 'attributes_too_many';
  return Buffer.byteLength(JSON.stringify(draft.attributes)) > MOST_ATTRIBUTES_BYTES ? 'attributes_too_large' : undefined;
}
