import type { Trace } from '../../../src/kernel/call.ts';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import { type Attributes, type ConsentState, eventRecorded } from '../contract.ts';
import { insertEvent } from '../events/event-rows.ts';
import { withListedConsent } from '../people/consent.ts';
import { type GroupTraits, withGroupTraits } from '../people/groups.ts';
import type { IdentityHashes } from '../people/identity-hashes.ts';
import { alias, knownAsListed, type ListedNames, nameOf, TooManyMerged, whoIs, whoIsListed, whoIsTogether } from '../people/naming.ts';
import { type PersonState, stampOf, toPerson } from '../people/person-state.ts';
import { withTraits } from '../people/traits.ts';
import { Erased, type Identity, WorkingSet } from '../people/working-set.ts';
import type { LiveSegments } from '../segments/live-segments.ts';
import type { EventRow, Tables } from '../tables.ts';
import { groupById, putGroup, seeMessage } from './ingest-rows.ts';
import type { AliasItem, EventItem, GroupItem, IdentifyItem, WireItem } from './wire-item.ts';

/** Something that was not taken, or not as it was meant. Names, never values. */
export interface Problem {
  readonly messageId: string | null;
  readonly type: string | null;
  readonly reason: string;
  readonly detail: string;
}

/** A row of a list of people: an identify that may name the person in other ways, and speaks of consent as a list does. */
export interface ListedPerson extends Omit<ListedNames, 'receivedAt'> {
  readonly type: 'listed';
  readonly messageId: null;
  readonly consent: ConsentState | null;
  readonly traits: Attributes;
  readonly time: EpochMs;
}
/** That somebody wants no mail, from a row of which nothing else is taken. */
export interface ListedDenial extends Omit<ListedNames, 'receivedAt'> {
  readonly type: 'denied';
  readonly messageId: null;
  readonly time: EpochMs;
}
export type BatchItem = WireItem | ListedPerson | ListedDenial;

export type ItemOutcome = 'recorded' | 'duplicate' | 'erased' | 'failed';

export interface BatchContext {
  readonly workspace: string;
  readonly receivedAt: EpochMs;
  readonly now: EpochMs;
  readonly trace: Trace;
  readonly hashes: IdentityHashes;
  readonly segments: LiveSegments;
}

/** A database within the process answers them all in one turn of the event loop. */
const EXPECTED_AT_ONCE = 50;

/** One batch inside its transaction. */
export class BatchRun {
  readonly problems: Problem[] = [];
  readonly #tx: Transaction<Tables>;
  readonly #context: BatchContext;
  readonly #people: WorkingSet;
  readonly #repeated = new Set<BatchItem>();
  readonly #events: EventRow[] = [];

  constructor(tx: Transaction<Tables>, context: BatchContext) {
    this.#tx = tx;
    this.#context = context;
    this.#people = new WorkingSet(tx, context);
  }

  /**
   * Notes the messages as seen and reads whom they are about, all on their way to the database together. Once, before
   * the first item is taken.
   */
  async expect(items: readonly BatchItem[]): Promise<void> {
    for (let at = 0; at < items.length; at += EXPECTED_AT_ONCE) {
      const some = items.slice(at, at + EXPECTED_AT_ONCE);
      await this.#see(some);
      const fresh = some.filter((item) => !this.#repeated.has(item));
      await this.#people.expect(fresh.flatMap(namesOf), fresh.flatMap(idsOf));
    }
  }

  /**
   * Takes one expected item, unless a message with its id was taken before: the first one counts, whatever the second
   * says. An item that cannot be taken becomes a problem and leaves the others alone; an outage is thrown, for all of them.
   */
  async take(item: BatchItem): Promise<ItemOutcome> {
    if (this.#repeated.has(item)) return 'duplicate';
    try {
      await this.#apply(item);
      return 'recorded';
    } catch (thrown) {
      if (thrown instanceof Erased) return 'erased';
      if (Fault.is(thrown) && OUTAGES.has(thrown.code)) throw thrown;
      const reason = thrown instanceof TooManyMerged ? 'too_many_merged' : Fault.is(thrown) ? thrown.reason : 'internal';
      this.#problem(item, reason, '');
      return 'failed';
    }
  }

  /** Once, after the last item. */
  async finish(): Promise<void> {
    await this.#tx.runMany(insertEvent, this.#events);
    await this.#people.flush();
  }

  /** Of two with the same id the first counts, here too. */
  async #see(items: readonly BatchItem[]): Promise<void> {
    const { workspace, now } = this.#context;
    const first = new Map<string, BatchItem>();
    for (const item of items) {
      if (item.messageId === null) continue;
      if (first.has(item.messageId)) this.#repeated.add(item);
      else first.set(item.messageId, item);
    }
    const fresh = new Set((await this.#tx.runMany(seeMessage, [...first.keys()].map((message) => ({ workspace, message, now })))).map(({ message_id: message }) => message));
    for (const [message, item] of first) if (!fresh.has(message)) this.#repeated.add(item);
  }

  #apply(item: BatchItem): Promise<void> {
    switch (item.type) {
      case 'identify':
        return this.#identify(item);
      case 'group':
        return this.#group(item);
      case 'alias':
        return this.#alias(item);
      case 'listed':
        return this.#listed(item);
      case 'denied':
        return this.#deny(item);
      default:
        return this.#event(item);
    }
  }

  async #event(item: EventItem): Promise<void> {
    const { workspace, receivedAt, trace } = this.#context;
    const person = await whoIs(this.#people, { ...item, receivedAt });
    const eventId = newId();
    const { type, name, properties, time } = item;
    await this.#tx.publish(eventRecorded, { eventId, type, name, properties, time, person: toPerson(person) }, { workspace, trace });
    this.#events.push({
      id: eventId,
      workspace_id: workspace,
      person_id: person.id,
      type: item.type,
      name: item.name,
      properties_json: JSON.stringify(item.properties),
      context_json: item.context === null ? null : JSON.stringify(item.context),
      time: item.time,
      received_at: receivedAt,
    });
    this.#people.told(person);
  }

  async #identify(item: IdentifyItem): Promise<void> {
    const person = await whoIsTogether(this.#people, { ...item, receivedAt: this.#context.receivedAt });
    this.#give(item, person, item.traits);
  }

  async #listed(item: ListedPerson): Promise<void> {
    // Whoever has the address wants no mail there, though nobody can tell whose the rest of the row is.
    if (item.consent === 'denied' && item.userId === null && item.personId === null) await this.#deny(item);
    const person = await whoIsListed(this.#people, { ...item, receivedAt: this.#context.receivedAt });
    const consent = item.consent === null ? person.consent : withListedConsent(person.consent, item.consent, item.time);
    this.#give(item, { ...person, consent }, item.traits, true);
  }

  /** Makes nobody. */
  async #deny({ time, ...names }: ListedDenial | ListedPerson): Promise<void> {
    const { receivedAt } = this.#context;
    for (const person of await knownAsListed(this.#people, { ...names, receivedAt })) this.#people.change({ ...person, consent: withListedConsent(person.consent, 'denied', time) });
  }

  async #alias(item: AliasItem): Promise<void> {
    await alias(this.#people, item.previousId, item.userId!, this.#context.receivedAt);
  }

  /** The group's traits are the group's; the person gets its id as the attribute `groupId`. */
  async #group(item: GroupItem): Promise<void> {
    const { workspace, receivedAt, now } = this.#context;
    const person = await whoIs(this.#people, { ...item, receivedAt });
    this.#give(item, person, { groupId: item.groupId });
    const [row] = await this.#tx.run(groupById, { workspace, id: item.groupId });
    const held: GroupTraits = row === undefined ? { traits: {}, stamps: {} } : { traits: JSON.parse(row.traits_json), stamps: JSON.parse(row.stamps_json) };
    const next = withGroupTraits(held, item.traits, item.time);
    if (next === null) return this.#problem(item, 'attributes_too_large', item.groupId);
    await this.#tx.run(putGroup, { workspace_id: workspace, group_id: item.groupId, traits_json: JSON.stringify(next.traits), stamps_json: JSON.stringify(next.stamps), updated_at: now });
  }

  #give(item: IdentifyItem | GroupItem | ListedPerson, person: PersonState, traits: Attributes, known = item.userId !== null): void {
    const { state, problems } = withTraits(person, traits, stampOf(item.time, known), item.time);
    for (const { reason, trait } of problems) this.#problem(item, reason, trait ?? '');
    this.#people.change(state);
  }

  #problem(item: BatchItem, reason: string, detail: string): void {
    this.problems.push({ messageId: item.messageId, type: item.type, reason, detail });
  }
}

/** Whom nearly every item is about; what else an alias or a pair of names asks for is read when it is needed. */
function namesOf(item: BatchItem): Identity[] {
  if (item.type === 'alias' || item.type === 'denied') return [];
  if (item.type !== 'listed') return [nameOf(item)];
  return item.userId === null && item.personId === null ? [] : [nameOf({ userId: item.userId, anonymousId: item.personId })];
}

function idsOf(item: BatchItem): string[] {
  return item.type === 'listed' && item.personId !== null ? [item.personId] : [];
}

/** What trying the whole batch again may help against. */
const OUTAGES: ReadonlySet<string> = new Set(['unavailable', 'exhausted', 'deadline', 'cancelled']);
