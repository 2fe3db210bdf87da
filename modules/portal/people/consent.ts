import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { ConsentState } from '../contract.ts';
import type { Consent } from './person-state.ts';

/** Traits that speak of consent; they are not kept as attributes. */
export const CONSENT_TRAITS: ReadonlySet<string> = new Set(['unsubscribed', 'emailConsent']);

/** What such a trait says; undefined when it says nothing that is understood. */
export function consentFromTrait(name: string, value: unknown): ConsentState | undefined {
  if (name === 'unsubscribed') return value === true ? 'denied' : value === false ? 'unknown' : undefined;
  return value === 'granted' || value === 'denied' || value === 'unknown' ? value : undefined;
}

/** The later word wins, but traits never bring back what the person, or staff for her, has denied. */
export function withTraitConsent(consent: Consent, state: ConsentState, at: EpochMs): Consent {
  if (consent.state === 'denied' && consent.by !== 'traits') return consent;
  return at < consent.at ? consent : { state, by: 'traits', at };
}

/** A list denies as staff would, and grants only where nothing was said: it brings nobody back who was denied, by whomever. */
export function withListedConsent(consent: Consent, state: ConsentState, at: EpochMs): Consent {
  if (state === 'granted') return consent.state === 'unknown' ? withTraitConsent(consent, state, at) : consent;
  return state === 'unknown' || (consent.state === 'denied' && consent.by !== 'traits') ? consent : { state, by: 'api', at };
}

/** Of two that become one: a denial wins, the person's own first; else the later word. */
export function mergedConsent(a: Consent, b: Consent): Consent {
  return weightOf(b) > weightOf(a) || (weightOf(b) === weightOf(a) && b.at > a.at) ? b : a;
}

function weightOf(consent: Consent): number {
  if (consent.state !== 'denied') return 0;
  return consent.by === 'person' ? 3 : consent.by === 'api' ? 2 : 1;
}
