import { sql } from 'kysely';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { statement } from '../../../src/ports/storage.ts';
import type { Attributes, ConsentState } from '../contract.ts';
import type { PersonRow, Tables } from '../tables.ts';
import type { ConsentSource, PersonState } from './person-state.ts';

/** `user` is the sender's own id of a known person, `anonymous` one that it made up for a visitor. */
export type IdentityKind = 'user' | 'anonymous';

export const personById = statement<Tables, { workspace: string; id: string }>()((db, p) =>
  db.selectFrom('people').selectAll().where('id', '=', p('id')).where('workspace_id', '=', p('workspace')),
);

/**
 * So many at once, the smallest number first: each is prepared for itself. The most are what the event loop can bear at
 * 32 KB of attributes each. By their ids alone, and then held to the workspace: a database that does not know how much a
 * workspace holds would rather walk past all of its people than look up more than three.
 */
export const peopleByIds = [4, 16, 50].map((size) => ({
  size,
  statement: statement<Tables, { workspace: string } & Record<string, string>>()((db, p) =>
    db
      .selectFrom('people')
      .selectAll()
      .where('id', 'in', Array.from({ length: size }, (_, i) => p(`s${i}`)))
      .where(sql<string>`workspace_id || ''`, '=', p('workspace')),
  ),
}));

/** Whom the name stood for when it was given: perhaps a person who was merged since. */
export const personByIdentity = statement<Tables, { workspace: string; kind: string; value: string }>()((db, p) =>
  db
    .selectFrom('identities')
    .innerJoin('people', 'people.id', 'identities.person_id')
    .selectAll('people')
    .where('identities.workspace_id', '=', p('workspace'))
    .where('identities.kind', '=', p('kind'))
    .where('identities.value', '=', p('value'))
    .where('people.workspace_id', '=', p('workspace')),
);

/** Who is gone has no address. */
export const peopleByEmail = statement<Tables, { workspace: string; email: string; limit: number }>()((db, p) =>
  db.selectFrom('people').selectAll().where('workspace_id', '=', p('workspace')).where('email_key', '=', p('email')).limit(p('limit')),
);

const placeholders = <K extends string>(p: (name: K) => unknown, names: readonly K[]) => Object.fromEntries(names.map((name) => [name, p(name)])) as Record<K, never>;

const COLUMNS = [
  'id', 'workspace_id', 'version', 'user_id', 'email', 'email_key', 'attributes_json', 'stamps_json', 'time_zone',
  'consent_email', 'consent_by', 'consent_at', 'gone', 'merged_into', 'created_at', 'updated_at',
] as const satisfies readonly (keyof PersonRow)[];
const CHANGING = COLUMNS.filter((column) => column !== 'id' && column !== 'workspace_id');

export const insertPerson = statement<Tables, PersonRow>()((db, p) => db.insertInto('people').values(placeholders(p, COLUMNS)));

export const updatePerson = statement<Tables, PersonRow>()((db, p) =>
  db.updateTable('people').set(placeholders(p, CHANGING)).where('id', '=', p('id')).where('workspace_id', '=', p('workspace_id')),
);

/** A name is given anew only when its owner has been deleted. */
export const linkIdentity = statement<Tables, { workspace: string; kind: string; value: string; person: string }>()((db, p) =>
  db
    .insertInto('identities')
    .values({ workspace_id: p('workspace'), kind: p('kind'), value: p('value'), person_id: p('person') })
    .onConflict((c) => c.columns(['workspace_id', 'kind', 'value']).doUpdateSet({ person_id: p('person') })),
);

/** Those who went up in a person. */
export const mergedIds = statement<Tables, { workspace: string; survivor: string; limit: number }>()((db, p) =>
  db.selectFrom('people').select('id').where('merged_into', '=', p('survivor')).where('workspace_id', '=', p('workspace')).limit(p('limit')),
);

/** Keeps chains flat: whoever went up in `from` has now gone up in `into`. */
export const redirectMerged = statement<Tables, { workspace: string; from: string; into: string }>()((db, p) =>
  db.updateTable('people').set({ merged_into: p('into') }).where('merged_into', '=', p('from')).where('workspace_id', '=', p('workspace')),
);

export const erasedAt = statement<Tables, { workspace: string; hash: string }>()((db, p) =>
  db.selectFrom('erased_identities').select('erased_at').where('workspace_id', '=', p('workspace')).where('hash', '=', p('hash')),
);

/** Nothing that was received by then brings back whoever was called so. */
export const noteErased = statement<Tables, { workspace: string; hash: string; at: number }>()((db, p) =>
  db
    .insertInto('erased_identities')
    .values({ workspace_id: p('workspace'), hash: p('hash'), erased_at: p('at') })
    .onConflict((c) => c.columns(['workspace_id', 'hash']).doUpdateSet({ erased_at: p('at') })),
);

export function toState(row: PersonRow): PersonState {
  return {
    id: row.id,
    version: row.version,
    userId: row.user_id,
    email: row.email,
    attributes: JSON.parse(row.attributes_json) as Attributes,
    stamps: JSON.parse(row.stamps_json) as Record<string, number>,
    timeZone: row.time_zone,
    consent: { state: row.consent_email as ConsentState, by: row.consent_by as ConsentSource, at: row.consent_at },
    gone: row.gone === 1,
    mergedInto: row.merged_into,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

export function toRow(workspace: string, state: PersonState): PersonRow {
  return {
    id: state.id,
    workspace_id: workspace,
    version: state.version,
    user_id: state.userId,
    email: state.email,
    email_key: state.email === null ? null : emailKey(state.email),
    attributes_json: JSON.stringify(state.attributes),
    stamps_json: JSON.stringify(state.stamps),
    time_zone: state.timeZone,
    consent_email: state.consent.state,
    consent_by: state.consent.by,
    consent_at: state.consent.at,
    gone: state.gone ? 1 : 0,
    merged_into: state.mergedInto,
    created_at: state.createdAt,
    updated_at: state.updatedAt,
  };
}

/** How addresses are compared and found. */
export function emailKey(email: string): string {
  return email.toLowerCase();
}

/** A person without anything personal, as deleting and merging leave her. */
export function emptied(state: PersonState, mergedInto: string | null, now: EpochMs): PersonState {
  return { ...state, version: state.version + 1, userId: null, email: null, attributes: {}, stamps: {}, timeZone: null, gone: true, mergedInto, updatedAt: now };
}
