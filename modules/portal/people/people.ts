import { inject, injectable } from 'inversify';
import type { Kysely } from 'kysely';
import type { Call } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Fault, type Json } from '../../../src/kernel/fault.ts';
import { idFrom } from '../../../src/kernel/ids.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import type { Attributes, ConsentState, Person } from '../contract.ts';
import { type Page, readerOf, readInPieces } from '../pieces.ts';
import { LiveSegments } from '../segments/live-segments.ts';
import { findSegment } from '../segments/segment-rows.ts';
import type { PersonRow, Tables } from '../tables.ts';
import { erasePerson } from './erasure.ts';
import { IdentityHashes } from './identity-hashes.ts';
import { emailKey, personById, toState } from './people-rows.ts';
import { type ConsentSource, type PersonState, stampOf, toPerson } from './person-state.ts';
import { withTraits } from './traits.ts';
import { WorkingSet } from './working-set.ts';

/** A person as staff and the API see her. */
export interface PersonRecord extends Person {
  /** Who said last what `consent` says. */
  readonly consentBy: ConsentSource;
  readonly consentAt: EpochMs;
  readonly createdAt: EpochMs;
  readonly updatedAt: EpochMs;
}

export interface PersonDetails {
  /** Null deletes it; left out it stays. */
  readonly email?: string | null | undefined;
  /** IANA name. */
  readonly timeZone?: string | null | undefined;
  /** Merged in, shallow; an attribute that is null is deleted. */
  readonly attributes?: Attributes | undefined;
}

export interface PeopleFilter {
  /** The beginning of the address; case does not count. */
  readonly email?: string | undefined;
  /** The beginning of the sender's own id. */
  readonly userId?: string | undefined;
  /** The id of a segment. */
  readonly segment?: string | undefined;
}

/** Sorts after every text that begins with what stands before it. */
const LAST = '\u{10ffff}';

/** People as staff and programs change them. Every change is told to the other modules in the same transaction. */
@injectable()
export class People {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #hashes: IdentityHashes;
  readonly #segments: LiveSegments;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock, @inject(IdentityHashes) hashes: IdentityHashes, @inject(LiveSegments) segments: LiveSegments) {
    this.#store = store;
    this.#clock = clock;
    this.#hashes = hashes;
    this.#segments = segments;
  }

  /**
   * A repeat with the call's idempotency key finds the person that the first one made.
   * Faults: `conflict`/`user_id_taken` (details.personId), `invalid`/`person_invalid` (details.problems).
   */
  async create(wanted: PersonDetails & { readonly userId?: string | null | undefined; readonly consent?: ConsentState | undefined }, call: Call): Promise<PersonRecord> {
    const id = call.idempotencyKey === undefined ? undefined : idFrom('person', call.requireWorkspace(), call.actor.kind, call.actor.id, call.idempotencyKey);
    return this.#write(call, async (people) => {
      const before = id === undefined ? null : await people.byId(id);
      if (before !== null) return before;
      const userId = wanted.userId ?? null;
      // A deletion that came first does not stand against staff who make the person anew.
      const taken = userId === null ? null : await people.byIdentity({ kind: 'user', value: userId }, Infinity);
      if (taken !== null) throw new Fault('conflict', 'Another person has this userId.', { reason: 'user_id_taken', details: { personId: taken.id } });
      const made = people.create(userId, id);
      if (userId !== null) await people.link({ kind: 'user', value: userId }, made);
      const state = people.change(this.#changed(made, wanted));
      return wanted.consent === undefined ? state : people.change(this.#consented(state, wanted.consent, 'api'));
    });
  }

  /**
   * Changes what is given. With `ifVersion`, only while the person stands at that version.
   * Faults: `not_found`/`person_not_found`, `conflict`/`version_changed`, `invalid`/`person_invalid`.
   */
  async update(personId: string, change: PersonDetails & { readonly ifVersion?: number | undefined }, call: Call): Promise<PersonRecord> {
    return this.#write(call, async (people) => {
      const person = found(await people.byId(personId));
      if (change.ifVersion !== undefined && change.ifVersion !== person.version) {
        throw new Fault('conflict', 'The person has been changed meanwhile.', { reason: 'version_changed', details: { version: person.version } });
      }
      return people.change(this.#changed(person, change));
    });
  }

  /**
   * What staff or a program know of the person's wish; overrides everything that was said before. `person` when she
   * said it herself, here. Faults: `not_found`/`person_not_found`.
   */
  async setConsent(personId: string, consent: ConsentState, by: 'api' | 'person', call: Call): Promise<PersonRecord> {
    return this.#write(call, async (people) => people.change(this.#consented(found(await people.byId(personId)), consent, by)));
  }

  /**
   * Deletes all that is personal, for good. The id stays, as `gone`; her events and names are erased soon after, and
   * events that were on their way do not bring her back. Repeating it is a fault `not_found`/`person_not_found`.
   */
  async remove(personId: string, call: Call): Promise<void> {
    const workspace = call.requireWorkspace();
    await this.#store.transaction(async (tx) => {
      const people = this.#workingSet(tx, call);
      const person = await people.remove(found(await people.byId(personId)));
      await people.flush();
      await tx.publish(erasePerson, { personId: person.id, erasedAt: person.updatedAt }, { workspace, trace: call.trace });
    });
  }

  /** The id of one who was merged gives the one whom she went up in. Fault `not_found`/`person_not_found`. */
  async get(personId: string, call: Call): Promise<PersonRecord> {
    const workspace = call.requireWorkspace();
    const [row] = await this.#store.run(personById, { workspace, id: personId });
    const [now] = row?.merged_into == null ? [row] : await this.#store.run(personById, { workspace, id: row.merged_into });
    if (now === undefined || now.gone === 1) throw notFound();
    return toRecord(toState(now));
  }

  /**
   * Without those who are gone: newest first, or in the order of what is looked for, so that each page costs the same
   * however many match. `before` is `cursorOf` the last one seen. Faults: `invalid`/`filters_exclusive` for two filters,
   * `not_found`/`segment_not_found`.
   */
  async list(page: Page & PeopleFilter, call: Call): Promise<PersonRecord[]> {
    const workspace = call.requireWorkspace();
    const filter = filterOf(page);
    if (page.segment !== undefined) await findSegment(this.#store, workspace, page.segment);
    const { db } = readerOf(this.#store, page);
    return readInPieces<PersonRecord>(page.limit, async (limit, last) => {
      const before = last === undefined ? page.before : this.cursorOf(last, page);
      const rows = await (filter === null ? newest(db, workspace, page.segment, before, limit) : beginning(db, workspace, filter, before, limit));
      return rows.map((row) => toRecord(toState(row)));
    });
  }

  /** Where a list with this filter goes on after this person. */
  cursorOf(last: PersonRecord, filter: PeopleFilter): string {
    if (filter.email !== undefined) return JSON.stringify([emailKey(last.email!), last.personId]);
    return filter.userId === undefined ? last.personId : JSON.stringify([last.userId, last.personId]);
  }

  async #write(call: Call, work: (people: WorkingSet) => Promise<PersonState>): Promise<PersonRecord> {
    return this.#store.transaction(async (tx) => {
      const people = this.#workingSet(tx, call);
      const state = await work(people);
      await people.flush();
      return toRecord(state);
    });
  }

  #workingSet(tx: Transaction<Tables>, call: Call): WorkingSet {
    return new WorkingSet(tx, { workspace: call.requireWorkspace(), now: this.#clock.now(), hashes: this.#hashes, segments: this.#segments, trace: call.trace });
  }

  /** Staff know best and later than whatever was sent: their changes stand until something newer is said. */
  #changed(state: PersonState, { email, timeZone, attributes }: PersonDetails): PersonState {
    const now = this.#clock.now();
    const traits: Attributes = { ...attributes, ...(email === undefined ? {} : { email }), ...(timeZone === undefined ? {} : { timeZone }) };
    const result = withTraits(state, traits, stampOf(now, true), now);
    if (result.problems.length === 0) return result.state;
    throw new Fault('invalid', 'Some of what was given about the person cannot be kept.', { reason: 'person_invalid', details: { problems: result.problems as unknown as Json } });
  }

  #consented(state: PersonState, consent: ConsentState, by: 'api' | 'person'): PersonState {
    return { ...state, consent: { state: consent, by, at: this.#clock.now() } };
  }
}

/** The people whose column begins with the text. */
interface Beginning {
  readonly column: 'email_key' | 'user_id';
  readonly text: string;
}

function filterOf({ email, userId, segment }: PeopleFilter): Beginning | null {
  if ([email, userId, segment].filter((one) => one !== undefined).length > 1) throw new Fault('invalid', 'Look for an e-mail address, for a userId or in a segment: for one of them.', { reason: 'filters_exclusive' });
  if (email !== undefined) return { column: 'email_key', text: emailKey(email) };
  return userId === undefined ? null : { column: 'user_id', text: userId };
}

function newest(db: Kysely<Tables>, workspace: string, segment: string | undefined, before: string | undefined, limit: number): Promise<PersonRow[]> {
  if (segment !== undefined) return newestOf(db, workspace, segment, before, limit);
  const query = db.selectFrom('people').selectAll().where('workspace_id', '=', workspace).where('gone', '=', 0).orderBy('id', 'desc').limit(limit);
  return (before === undefined ? query : query.where('id', '<', before)).execute();
}

/** The page is found by the members alone; put in order here, so that no database looks for another way to it. */
async function newestOf(db: Kysely<Tables>, workspace: string, segment: string, before: string | undefined, limit: number): Promise<PersonRow[]> {
  const rows = await db
    .selectFrom('people')
    .selectAll()
    .where('workspace_id', '=', workspace)
    .where('gone', '=', 0)
    .where('id', 'in', (eb) => {
      const members = eb.selectFrom('segment_members').select('person_id').where('workspace_id', '=', workspace).where('segment_id', '=', segment).orderBy('person_id', 'desc').limit(limit);
      return before === undefined ? members : members.where('person_id', '<', before);
    })
    .execute();
  return rows.sort((a, b) => (a.id < b.id ? 1 : -1));
}

function beginning(db: Kysely<Tables>, workspace: string, { column, text }: Beginning, before: string | undefined, limit: number): Promise<PersonRow[]> {
  // One lower bound and not two: the index is entered by the first of them, and walked up to the other.
  const [key, id] = before === undefined ? [text, ''] : (JSON.parse(before) as [string, string]);
  return db
    .selectFrom('people')
    .selectAll()
    .where('workspace_id', '=', workspace)
    .where('gone', '=', 0)
    .where((eb) => eb(eb.refTuple(column, 'id'), '>', eb.tuple(key, id)))
    .where(column, '<', text + LAST)
    .orderBy(column)
    .orderBy('id')
    .limit(limit)
    .execute();
}

function toRecord(state: PersonState): PersonRecord {
  return { ...toPerson(state), consentBy: state.consent.by, consentAt: state.consent.at, createdAt: state.createdAt, updatedAt: state.updatedAt };
}

function found(person: PersonState | null): PersonState {
  if (person === null) throw notFound();
  return person;
}

function notFound(): Fault {
  return new Fault('not_found', 'There is no such person in this workspace.', { reason: 'person_not_found' });
}
