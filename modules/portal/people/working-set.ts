import type { Trace } from '../../../src/kernel/call.ts';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { PublishOptions } from '../../../src/kernel/message.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import { personChanged } from '../contract.ts';
import type { LiveSegments } from '../segments/live-segments.ts';
import { Memberships } from '../segments/memberships.ts';
import type { PersonRow, Tables } from '../tables.ts';
import type { IdentityHashes } from './identity-hashes.ts';
import { emailKey, emptied, erasedAt, type IdentityKind, insertPerson, linkIdentity, mergedIds, noteErased, peopleByEmail, personById, personByIdentity, redirectMerged, toRow, toState, updatePerson } from './people-rows.ts';
import { asChangeOf, newPerson, type PersonState, toPerson } from './person-state.ts';
import { mergeOf } from './traits.ts';

/** How many persons may go up in one: their timelines are read together. */
export const MOST_MERGED = 1_000;

export interface Identity {
  readonly kind: IdentityKind;
  readonly value: string;
}

/** The message was received before the person that it speaks of was deleted: it is not to bring her back. */
export class Erased extends Error {}

interface Held {
  state: PersonState;
  /** As the table has it; null when it does not. */
  stored: PersonState | null;
  dirty: boolean;
  /** The last version that the other modules know of, or will when this transaction is committed. */
  told: number;
}

/**
 * The people that one transaction works on: each is read once, changed in memory and written once, however many
 * events of the batch are hers. Correct because transactions are serial. Every statement names the workspace.
 */
export class WorkingSet {
  readonly #tx: Transaction<Tables>;
  readonly #workspace: string;
  readonly #now: EpochMs;
  readonly #hashes: IdentityHashes;
  readonly #published: PublishOptions;
  readonly #memberships: Memberships;
  readonly #people = new Map<string, Held>();
  readonly #named = new Map<string, string>();
  readonly #expected = new Map<string, PersonRow | undefined>();

  constructor(tx: Transaction<Tables>, options: { readonly workspace: string; readonly now: EpochMs; readonly hashes: IdentityHashes; readonly segments: LiveSegments; readonly trace?: Trace }) {
    this.#tx = tx;
    this.#workspace = options.workspace;
    this.#now = options.now;
    this.#hashes = options.hashes;
    this.#memberships = new Memberships(tx, options.workspace, options.segments);
    this.#published = { workspace: options.workspace, ...(options.trace && { trace: options.trace }) };
  }

  /** The person, or whom she went up in; null when unknown or deleted. */
  async byId(id: string): Promise<PersonState | null> {
    const held = await this.#follow(id);
    return held === undefined || held.state.gone ? null : held.state;
  }

  /** The same for an id that stands in a list. @throws Erased when she was deleted */
  async listed(id: string): Promise<PersonState | null> {
    const held = await this.#follow(id);
    if (held?.state.gone === true) throw new Erased();
    return held?.state ?? null;
  }

  /** Who has the address; null when nobody. Fault `conflict`/`email_ambiguous` when several have. @throws Erased */
  async byEmail(email: string, receivedAt: EpochMs): Promise<PersonState | null> {
    const [found, another] = await this.allByEmail(email, 2);
    if (another !== undefined) throw new Fault('conflict', 'Several people have this address.', { reason: 'email_ambiguous' });
    if (found === undefined) await this.#requireLaterThanErasure('email', emailKey(email), receivedAt);
    return found ?? null;
  }

  /** All who have the address; not all where those whom this transaction has read already and so many more do. */
  async allByEmail(email: string, most: number): Promise<PersonState[]> {
    const key = emailKey(email);
    // Those who are held may have another address by now.
    const rows = await this.#tx.run(peopleByEmail, { workspace: this.#workspace, email: key, limit: this.#people.size + most });
    for (const row of rows) this.#hold(row);
    return [...this.#people.values()].map(({ state }) => state).filter(({ gone, email: own }) => !gone && own !== null && emailKey(own) === key);
  }

  /** Reads whom these names and ids stand for, all on their way to the database together, so that asking for them costs nothing more. */
  async expect(names: readonly Identity[], ids: readonly string[] = []): Promise<void> {
    const distinct = new Map(names.map((name) => [name.kind + name.value, name]));
    await Promise.all([...new Set(ids)].filter((id) => !this.#people.has(id)).map((id) => this.#read(id)));
    await Promise.all(
      [...distinct].map(async ([key, { kind, value }]) => {
        const [row] = await this.#tx.run(personByIdentity, { workspace: this.#workspace, kind, value });
        this.#expected.set(key, row);
      }),
    );
  }

  /** Whom a sender means by a name; null when nobody. @throws Erased */
  async byIdentity({ kind, value }: Identity, receivedAt: EpochMs): Promise<PersonState | null> {
    const known = this.#named.get(kind + value);
    if (known !== undefined) return this.byId(known);
    const row = await this.#personCalled({ kind, value });
    const held = row === undefined ? undefined : await this.#follow(this.#hold(row).state.id);
    if (held === undefined || held.state.gone) {
      if (held !== undefined && receivedAt <= held.state.updatedAt) throw new Erased();
      await this.#requireLaterThanErasure(kind, value, receivedAt);
      return null;
    }
    this.#named.set(kind + value, held.state.id);
    return held.state;
  }

  /** A person nobody has heard of before; written by `flush`. */
  create(userId: string | null, id = newId()): PersonState {
    const state = newPerson(id, userId, this.#now);
    this.#people.set(state.id, { state, stored: null, dirty: true, told: 0 });
    return state;
  }

  /** Gives a person another name. */
  async link({ kind, value }: Identity, person: PersonState): Promise<void> {
    await this.#tx.run(linkIdentity, { workspace: this.#workspace, kind, value, person: person.id });
    this.#named.set(kind + value, person.id);
  }

  /** Takes a person's next state and answers it as kept: its version rises if it can be told from the last. */
  change(next: PersonState): PersonState {
    const held = this.#people.get(next.id)!;
    if (held.state === next) return next;
    // Version 1 is the person as her first message leaves her.
    held.state = held.told === 0 ? { ...next, version: 1 } : asChangeOf(held.state, next, this.#now);
    held.dirty = true;
    return held.state;
  }

  /**
   * `other` goes up in `known`: by reference, since her events and names stay where they are. Tells the other modules
   * at once, before any event that follows. Null, and nothing is changed, when `known` would hold too many.
   */
  async merge(known: PersonState, other: PersonState): Promise<PersonState | null> {
    const workspace = this.#workspace;
    const own = await this.#tx.run(mergedIds, { workspace, survivor: known.id, limit: MOST_MERGED });
    const brought = await this.#tx.run(mergedIds, { workspace, survivor: other.id, limit: MOST_MERGED });
    if (own.length + brought.length + 1 > MOST_MERGED) return null;
    if (brought.length > 0) await this.#redirect(other.id, known.id);
    await this.#leave(this.#people.get(other.id)!, known.id);

    const held = this.#people.get(known.id)!;
    const version = held.told === 0 ? 1 : held.state.version + 1;
    held.state = { ...mergeOf(held.state, other), version, createdAt: Math.min(held.state.createdAt, other.createdAt), updatedAt: this.#now };
    held.dirty = true;
    held.told = version;
    await this.#tx.publish(personChanged, { person: toPerson(held.state), mergedFrom: [other.id] }, this.#published);
    return held.state;
  }

  /** Deletes what is personal and tells the other modules. Her events and names are erased by a job of their own. */
  async remove(person: PersonState): Promise<PersonState> {
    const held = this.#people.get(person.id)!;
    // All who ever went up in her: what is known of them elsewhere is hers too.
    const merged = await this.#tx.run(mergedIds, { workspace: this.#workspace, survivor: person.id, limit: MOST_MERGED });
    const { email } = held.state;
    await this.#leave(held, null);
    // Her other names are still known to whoever erases them.
    if (email !== null) await this.#tx.run(noteErased, { workspace: this.#workspace, hash: this.#hashes.of(this.#workspace, 'email', emailKey(email)), at: this.#now });
    await this.#tx.publish(personChanged, { person: toPerson(held.state), mergedFrom: merged.map(({ id }) => id) }, this.#published);
    return held.state;
  }

  /** The other modules learn of this state by an event that the caller publishes. */
  told(state: PersonState): void {
    this.#people.get(state.id)!.told = state.version;
  }

  /** Writes who changed, in her segments too, and tells the other modules of changes that no event has carried. Once, at the end. */
  async flush(): Promise<void> {
    for (const held of this.#people.values()) {
      if (!held.dirty) continue;
      await this.#write(held);
      if (held.state.version > held.told) await this.#tx.publish(personChanged, { person: toPerson(held.state), mergedFrom: [] }, this.#published);
    }
    await this.#memberships.flush();
  }

  /** As the tables have it: a name that this transaction gives is known before it comes to this. */
  async #personCalled({ kind, value }: Identity): Promise<PersonRow | undefined> {
    if (this.#expected.has(kind + value)) return this.#expected.get(kind + value);
    const [row] = await this.#tx.run(personByIdentity, { workspace: this.#workspace, kind, value });
    return row;
  }

  async #follow(id: string): Promise<Held | undefined> {
    const held = this.#people.get(id) ?? (await this.#read(id));
    return held?.state.mergedInto == null ? held : this.#follow(held.state.mergedInto);
  }

  async #read(id: string): Promise<Held | undefined> {
    const [row] = await this.#tx.run(personById, { workspace: this.#workspace, id });
    return row === undefined ? undefined : this.#hold(row);
  }

  #hold(row: PersonRow): Held {
    const known = this.#people.get(row.id);
    if (known !== undefined) return known;
    const state = toState(row);
    const held = { state, stored: state, dirty: false, told: row.version };
    this.#people.set(row.id, held);
    return held;
  }

  async #requireLaterThanErasure(kind: IdentityKind | 'email', value: string, receivedAt: EpochMs): Promise<void> {
    const [row] = await this.#tx.run(erasedAt, { workspace: this.#workspace, hash: this.#hashes.of(this.#workspace, kind, value) });
    if (row !== undefined && receivedAt <= row.erased_at) throw new Erased();
  }

  /** Written at once: from here on the table says who went up in whom. */
  async #leave(held: Held, mergedInto: string | null): Promise<void> {
    held.state = emptied(held.state, mergedInto, this.#now);
    held.told = held.state.version;
    await this.#write(held);
  }

  async #redirect(from: string, into: string): Promise<void> {
    await this.#tx.run(redirectMerged, { workspace: this.#workspace, from, into });
    for (const held of this.#people.values()) if (held.state.mergedInto === from) held.state = { ...held.state, mergedInto: into };
  }

  async #write(held: Held): Promise<void> {
    const { state, stored } = held;
    await Promise.all([this.#tx.run(stored === null ? insertPerson : updatePerson, toRow(this.#workspace, state)), this.#memberships.follow(stored, state)]);
    held.stored = state;
    held.dirty = false;
  }
}
