import { Fault } from '../../../src/kernel/fault.ts';
import { type Bit, type StorageTransaction, statement } from '../../../src/ports/storage.ts';
import type { Person } from '../../portal/contract.ts';
import type { PersonFacts } from '../../../src/kernel/conditions/field.ts';
import type { TriggerTables } from '../tables.ts';

type Key = { workspace: string; id: string };
type Tx = StorageTransaction<TriggerTables>;

const standing = statement<TriggerTables, Key>()((db, p) =>
  db.selectFrom('people').select(['version', 'gone', 'merged_into']).where('workspace', '=', p('workspace')).where('id', '=', p('id')),
);
const known = statement<TriggerTables, Key>()((db, p) =>
  db.selectFrom('people').select(['gone', 'facts']).where('workspace', '=', p('workspace')).where('id', '=', p('id')),
);
const save = statement<TriggerTables, Key & { version: number; gone: Bit; facts: string }>()((db, p) =>
  db
    .insertInto('people')
    .values({ workspace: p('workspace'), id: p('id'), version: p('version'), gone: p('gone'), merged_into: null, facts: p('facts') })
    .onConflict((conflict) =>
      conflict
        .columns(['workspace', 'id'])
        .doUpdateSet((eb) => ({ version: eb.ref('excluded.version'), gone: eb.ref('excluded.gone'), facts: eb.ref('excluded.facts') }))
        .whereRef('people.version', '<', 'excluded.version')
        .where('people.merged_into', 'is', null),
    )
    .returning('id'),
);
const merge = statement<TriggerTables, Key & { into: string }>()((db, p) =>
  db
    .insertInto('people')
    .values({ workspace: p('workspace'), id: p('id'), version: 0, gone: 1, merged_into: p('into'), facts: '{}' })
    .onConflict((conflict) =>
      conflict.columns(['workspace', 'id']).doUpdateSet((eb) => ({ gone: eb.ref('excluded.gone'), merged_into: eb.ref('excluded.merged_into'), facts: eb.ref('excluded.facts') })),
    ),
);

/** Merges of merges; more in a row can only be a circle. */
const MOST_HOPS = 32;

/** Keeps the copy as new as the newest that was seen. Answers whether this one was newer. */
export async function savePerson(tx: Tx, workspace: string, person: Person): Promise<boolean> {
  const facts = person.gone ? '{}' : JSON.stringify({ email: person.email, timeZone: person.timeZone, attributes: person.attributes });
  const saved = await tx.run(save, { workspace, id: person.personId, version: person.version, gone: person.gone ? 1 : 0, facts });
  return saved.length > 0;
}

/** From now on whatever comes for `from` is for `into`. Repeating it changes nothing. */
export async function mergePerson(tx: Tx, workspace: string, from: string, into: string): Promise<void> {
  await tx.run(merge, { workspace, id: from, into });
}

/** The id under which this person goes on, after all merges. */
export async function currentId(tx: Tx, workspace: string, personId: string): Promise<string> {
  let id = personId;
  for (let hop = 0; hop < MOST_HOPS; hop++) {
    const [row] = await tx.run(standing, { workspace, id });
    if (row?.merged_into == null) return id;
    id = row.merged_into;
  }
  throw new Fault('invalid', 'The persons are merged into each other in a circle.', { reason: 'merge_circle' });
}

/** The newest that is known of the person; undefined for one who is gone or was never seen. */
export async function newestFacts(tx: Tx, workspace: string, personId: string): Promise<PersonFacts | undefined> {
  const [row] = await tx.run(known, { workspace, id: personId });
  return row === undefined || row.gone === 1 ? undefined : (JSON.parse(row.facts) as PersonFacts);
}

/** A person as an event shows them, in the light of what is known already. */
export interface SeenPerson {
  /** Another one than the event's when the person was merged since. */
  readonly personId: string;
  readonly gone: boolean;
  /** True when the event's own copy of the person is the newest. */
  readonly asInEvent: boolean;
}

/** Takes note of an event's person; one read when nothing is new. */
export async function seePerson(tx: Tx, workspace: string, person: Person): Promise<SeenPerson> {
  const [row] = await tx.run(standing, { workspace, id: person.personId });
  if (row === undefined || (row.merged_into === null && row.version < person.version)) {
    await savePerson(tx, workspace, person);
    return { personId: person.personId, gone: person.gone, asInEvent: true };
  }
  if (row.merged_into === null) return { personId: person.personId, gone: row.gone === 1, asInEvent: row.version === person.version };
  const personId = await currentId(tx, workspace, row.merged_into);
  const [target] = await tx.run(standing, { workspace, id: personId });
  return { personId, gone: target?.gone === 1, asInEvent: false };
}
