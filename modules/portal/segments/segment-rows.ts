import { Fault } from '../../../src/kernel/fault.ts';
import { type Reader, statement } from '../../../src/ports/storage.ts';
import type { PersonRow, SegmentRow, Tables } from '../tables.ts';

interface Key {
  workspace: string;
  segment: string;
}
interface MemberKey extends Key {
  person: string;
}

/** All that a workspace has, without what they ask: read with every change of people. */
export const segmentsOf = statement<Tables, { workspace: string }>()((db, p) =>
  db.selectFrom('segments').select(['id', 'condition_id']).where('workspace_id', '=', p('workspace')),
);

export const segmentById = statement<Tables, Key>()<SegmentRow>((db, p) =>
  db.selectFrom('segments').selectAll().where('workspace_id', '=', p('workspace')).where('id', '=', p('segment')),
);

/** Answers a row when she was no member yet. */
export const addMember = statement<Tables, MemberKey>()((db, p) =>
  db
    .insertInto('segment_members')
    .values({ workspace_id: p('workspace'), segment_id: p('segment'), person_id: p('person') })
    .onConflict((c) => c.doNothing())
    .returning('person_id'),
);

/** Answers a row when she was a member. */
export const removeMember = statement<Tables, MemberKey>()((db, p) =>
  db
    .deleteFrom('segment_members')
    .where('workspace_id', '=', p('workspace'))
    .where('segment_id', '=', p('segment'))
    .where('person_id', '=', p('person'))
    .returning('person_id'),
);

export const countPeople = statement<Tables, Key & { more: number }>()((db, p) =>
  db
    .updateTable('segments')
    .set((eb) => ({ people: eb('people', '+', p('more')) }))
    .where('workspace_id', '=', p('workspace'))
    .where('id', '=', p('segment')),
);

export const filledTo = statement<Tables, Key & { place: string | null; more: number }>()((db, p) =>
  db
    .updateTable('segments')
    .set((eb) => ({ filled_to: p('place'), looked_at: eb('looked_at', '+', p('more')) }))
    .where('workspace_id', '=', p('workspace'))
    .where('id', '=', p('segment')),
);

/** Who has not gone, in the order of ids. */
export const peopleAfter = statement<Tables, { workspace: string; after: string; limit: number }>()<PersonRow>((db, p) =>
  db.selectFrom('people').selectAll().where('workspace_id', '=', p('workspace')).where('gone', '=', 0).where('id', '>', p('after')).orderBy('id').limit(p('limit')),
);

export const membersBetween = statement<Tables, Key & { after: string; upTo: string }>()((db, p) =>
  db
    .selectFrom('segment_members')
    .select('person_id')
    .where('workspace_id', '=', p('workspace'))
    .where('segment_id', '=', p('segment'))
    .where('person_id', '>', p('after'))
    .where('person_id', '<=', p('upTo')),
);

export const someMembers = statement<Tables, Key & { limit: number }>()((db, p) =>
  db.selectFrom('segment_members').select('person_id').where('workspace_id', '=', p('workspace')).where('segment_id', '=', p('segment')).limit(p('limit')),
);

/** Fault `not_found`/`segment_not_found`. */
export async function findSegment(reader: Reader<Tables>, workspace: string, segment: string): Promise<SegmentRow> {
  const [row] = await reader.run(segmentById, { workspace, segment });
  if (row === undefined) throw new Fault('not_found', 'There is no such segment in this workspace.', { reason: 'segment_not_found' });
  return row;
}
