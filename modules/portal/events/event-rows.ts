import { statement } from '../../../src/ports/storage.ts';
import type { EventRow, Tables } from '../tables.ts';

export const insertEvent = statement<Tables, EventRow>()((db, p) =>
  db.insertInto('events').values({
    id: p('id'),
    workspace_id: p('workspace_id'),
    person_id: p('person_id'),
    type: p('type'),
    name: p('name'),
    properties_json: p('properties_json'),
    context_json: p('context_json'),
    time: p('time'),
    received_at: p('received_at'),
  }),
);
