import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { Attributes, ConsentState } from '../contract.ts';
import type { ListedDenial, ListedPerson } from '../ingest/batch-run.ts';
import { idOf, isObject } from '../ingest/wire-item.ts';
import { CONSENT_TRAITS, consentFromTrait } from '../people/consent.ts';
import { isEmail } from '../people/email-address.ts';
import { newPerson } from '../people/person-state.ts';
import { isAttributeName, MOST_ATTRIBUTES, withTraits } from '../people/traits.ts';
import type { Subject } from './columns.ts';

/** What is wrong with one field of a row, or with the row (`field` empty). Names, never values. */
export interface FieldProblem {
  readonly field: string;
  readonly reason: string;
}

const LONGEST_PERSON_ID = 200;
const LONGEST_FIELD = 200;
/** Whether traits can be kept does not hang on whose they are. */
const ANYBODY = newPerson('', null, 0);

/** One row of a list on its way to a person: field by field, then as a whole. */
export class PersonDraft {
  readonly problems: FieldProblem[] = [];
  #personId: string | null = null;
  #userId: string | null = null;
  #consent: ConsentState | null = null;
  readonly #traits: Record<string, Attributes[string]> = {};
  /** Which field each trait stood in. */
  readonly #fields = new Map<string, string>();

  /** Null says nothing. */
  take(field: string, subject: Subject, value: unknown): void {
    if (value === null) return;
    switch (subject.kind) {
      case 'personId':
        if (typeof value === 'string' && value.length <= LONGEST_PERSON_ID) this.#personId = value === '' ? null : value;
        else this.refuse(field, 'person_id_invalid');
        return;
      case 'userId':
        return this.#takeUserId(field, value);
      case 'email':
        return this.#takeTrait(field, 'email', value);
      case 'consent':
        return this.#takeTrait(field, 'emailConsent', value);
      case 'unsubscribed':
        return this.#takeTrait(field, 'unsubscribed', value);
      case 'attributes':
        if (!isObject(value)) return this.refuse(field, 'attributes_invalid');
        for (const [trait, inner] of Object.entries(value)) this.#takeTrait(field, trait, inner);
        return;
      case 'trait':
        return this.#takeTrait(field, subject.trait, value);
      case 'nothing':
        return;
    }
  }

  refuse(field: string, reason: string): void {
    this.problems.push({ field: field.slice(0, LONGEST_FIELD).toWellFormed(), reason });
  }

  /** Null when anything in the row is wrong: it is taken whole or not at all. */
  finish(time: EpochMs): ListedPerson | null {
    // Nobody is held up by a row of a thousand fields that comes to nothing.
    if (Object.keys(this.#traits).length > MOST_ATTRIBUTES) this.refuse('', 'attributes_too_many');
    else for (const { reason, trait } of withTraits(ANYBODY, this.#traits, time, time).problems) this.refuse(trait === null ? '' : this.#fields.get(trait)!, reason);
    const email = typeof this.#traits.email === 'string' ? this.#traits.email : null;
    if (this.#personId === null && this.#userId === null && email === null && this.problems.length === 0) this.refuse('', 'identity_missing');
    if (this.problems.length > 0) return null;
    return { type: 'listed', messageId: null, personId: this.#personId, userId: this.#userId, email, consent: this.#consent, traits: this.#traits, time };
  }

  /** What counts of a row that is refused: who opts out has done so, whatever else is wrong. */
  denial(time: EpochMs): ListedDenial | null {
    const { email } = this.#traits;
    return this.#consent === 'denied' ? { type: 'denied', messageId: null, personId: this.#personId, userId: this.#userId, email: isEmail(email) ? email : null, time } : null;
  }

  #takeUserId(field: string, value: unknown): void {
    const userId = idOf(value);
    if (userId === false) this.refuse(field, 'user_id_invalid');
    else this.#userId = userId;
  }

  #takeTrait(field: string, trait: string, value: unknown): void {
    if (CONSENT_TRAITS.has(trait)) return this.#takeConsent(field, trait, value);
    if (!isAttributeName(trait)) return this.refuse(field, 'attribute_name_invalid');
    this.#fields.set(trait, field);
    // Spaces around an address come from spreadsheets.
    this.#traits[trait] = (trait === 'email' && typeof value === 'string' ? value.trim() : value) as Attributes[string];
  }

  /** Where a row says several things, a denial counts. */
  #takeConsent(field: string, trait: string, value: unknown): void {
    if (value === null) return;
    const said = consentFromTrait(trait, value);
    if (said === undefined) this.refuse(field, 'consent_invalid');
    else if (this.#consent !== 'denied' && said !== 'unknown') this.#consent = said;
  }
}
