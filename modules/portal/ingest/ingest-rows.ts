import { statement } from '../../../src/ports/storage.ts';
import type { GroupRow, IngestProblemRow, Tables } from '../tables.ts';

/** Answers a row for a message that has not been seen before, and notes that it has been now. */
export const seeMessage = statement<Tables, { workspace: string; message: string; now: number }>()((db, p) =>
  db
    .insertInto('seen_messages')
    .values({ workspace_id: p('workspace'), message_id: p('message'), seen_at: p('now') })
    .onConflict((c) => c.doNothing())
    .returning('message_id'),
);

export const insertProblem = statement<Tables, IngestProblemRow>()((db, p) =>
  db.insertInto('ingest_problems').values({
    id: p('id'),
    workspace_id: p('workspace_id'),
    time: p('time'),
    message_id: p('message_id'),
    type: p('type'),
    reason: p('reason'),
    detail: p('detail'),
  }),
);

/** Drops all but the newest `kept` of a workspace. */
export const dropOldProblems = statement<Tables, { workspace: string; kept: number }>()((db, p) =>
  db
    .deleteFrom('ingest_problems')
    .where('workspace_id', '=', p('workspace'))
    .where('id', '<=', (eb) => eb.selectFrom('ingest_problems').select('id').where('workspace_id', '=', p('workspace')).orderBy('id', 'desc').limit(1).offset(p('kept'))),
);

export const groupById = statement<Tables, { workspace: string; id: string }>()((db, p) =>
  db.selectFrom('groups').selectAll().where('workspace_id', '=', p('workspace')).where('group_id', '=', p('id')),
);

export const putGroup = statement<Tables, GroupRow>()((db, p) =>
  db
    .insertInto('groups')
    .values({ workspace_id: p('workspace_id'), group_id: p('group_id'), traits_json: p('traits_json'), stamps_json: p('stamps_json'), updated_at: p('updated_at') })
    .onConflict((c) => c.columns(['workspace_id', 'group_id']).doUpdateSet({ traits_json: p('traits_json'), stamps_json: p('stamps_json'), updated_at: p('updated_at') })),
);
