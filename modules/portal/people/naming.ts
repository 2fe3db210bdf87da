import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { PersonState } from './person-state.ts';
import { type Identity, MOST_MERGED, type WorkingSet } from './working-set.ts';

export interface Names {
  readonly userId: string | null;
  readonly anonymousId: string | null;
  /** When the message that gives these names was received. */
  readonly receivedAt: EpochMs;
}

/** A merge that was not made, since the survivor holds as many as one person may. */
export class TooManyMerged extends Error {
  constructor() {
    super(`A person may have taken up ${MOST_MERGED} others.`);
  }
}

/** What a row of a list calls a person: one of the three at least. */
export interface ListedNames {
  /** An id of ours, of this workspace or another one. */
  readonly personId: string | null;
  readonly userId: string | null;
  readonly email: string | null;
  readonly receivedAt: EpochMs;
}

/** People who share an address and are denied by one row. */
const MOST_OF_ADDRESS = 20;

/** The user id counts before the anonymous one. */
export function nameOf({ userId, anonymousId }: Pick<Names, 'userId' | 'anonymousId'>): Identity {
  return userId === null ? { kind: 'anonymous', value: anonymousId! } : { kind: 'user', value: userId };
}

/** Whom an event is about. Made when nobody knows her. @throws Erased */
export async function whoIs(people: WorkingSet, names: Names): Promise<PersonState> {
  const name = nameOf(names);
  return (await people.byIdentity(name, names.receivedAt)) ?? named(people, name);
}

/**
 * Whom an identify is about. Given both ids, the anonymous visitor and the user are one from now on; but a visitor who
 * is known by another user id already stays who she is, since a shared browser does not make two users one.
 * @throws Erased, TooManyMerged
 */
export async function whoIsTogether(people: WorkingSet, names: Names): Promise<PersonState> {
  const { userId, anonymousId, receivedAt } = names;
  if (userId === null || anonymousId === null) return whoIs(people, names);
  const [asUser, asVisitor]: Identity[] = [{ kind: 'user', value: userId }, { kind: 'anonymous', value: anonymousId }] as const;
  const user = await people.byIdentity(asUser!, receivedAt);
  const visitor = await people.byIdentity(asVisitor!, receivedAt);
  if (user === null && visitor !== null && visitor.userId === null) {
    await people.link(asUser!, visitor);
    return people.change({ ...visitor, userId });
  }
  const known = user ?? (await named(people, asUser!));
  if (visitor === null) await people.link(asVisitor!, known);
  else if (visitor.id !== known.id && visitor.userId === null) return merged(people, known, visitor);
  return known;
}

/** Segment's alias: whoever was called `previousId`, by either kind of name, is the user. @throws Erased, TooManyMerged */
export async function alias(people: WorkingSet, previousId: string, userId: string, receivedAt: EpochMs): Promise<PersonState> {
  const asUser: Identity = { kind: 'user', value: userId };
  const asBefore: readonly Identity[] = [{ kind: 'user', value: previousId }, { kind: 'anonymous', value: previousId }];
  const user = await people.byIdentity(asUser, receivedAt);
  if (previousId === userId) return user ?? named(people, asUser);
  const before = (await people.byIdentity(asBefore[0]!, receivedAt)) ?? (await people.byIdentity(asBefore[1]!, receivedAt));
  if (before === null) {
    const known = user ?? (await named(people, asUser));
    for (const name of asBefore) await people.link(name, known);
    return known;
  }
  if (user === null) {
    await people.link(asUser, before);
    return people.change({ ...before, userId });
  }
  return user.id === before.id ? user : merged(people, user, before);
}

/**
 * Whom a row of a list is about: by the user id where it has one, else by the person's id, else by the address. A
 * person's id from another workspace becomes a name, so that the same row finds her again.
 * @throws Erased, Fault `conflict`/`email_ambiguous`
 */
export async function whoIsListed(people: WorkingSet, { personId, userId, email, receivedAt }: ListedNames): Promise<PersonState> {
  const own = personId === null ? null : await people.listed(personId);
  if (userId === null) {
    if (personId !== null) return own ?? whoIs(people, { userId, anonymousId: personId, receivedAt });
    return (await people.byEmail(email!, receivedAt)) ?? people.create(null);
  }
  const name: Identity = { kind: 'user', value: userId };
  const user = await people.byIdentity(name, receivedAt);
  if (user !== null || own === null || own.userId !== null) return user ?? named(people, name);
  await people.link(name, own);
  return people.change({ ...own, userId });
}

/** Those whom such a row is about, of the people that there are; by the address all who have it. @throws Erased */
export async function knownAsListed(people: WorkingSet, { personId, userId, email, receivedAt }: ListedNames): Promise<PersonState[]> {
  const own = personId === null ? null : await people.listed(personId);
  if (userId === null && personId === null) return email === null ? [] : people.allByEmail(email, MOST_OF_ADDRESS);
  if (userId === null && own !== null) return [own];
  const called = await people.byIdentity(nameOf({ userId, anonymousId: personId }), receivedAt);
  const known = called ?? (own?.userId === null ? own : null);
  return known === null ? [] : [known];
}

async function named(people: WorkingSet, name: Identity): Promise<PersonState> {
  const person = people.create(name.kind === 'user' ? name.value : null);
  await people.link(name, person);
  return person;
}

async function merged(people: WorkingSet, known: PersonState, other: PersonState): Promise<PersonState> {
  const survivor = await people.merge(known, other);
  if (survivor === null) throw new TooManyMerged();
  return survivor;
}
