import { statement } from '../../../src/ports/storage.ts';
import type { TriggerTables } from '../tables.ts';

type Row = TriggerTables['agenda'];
type Person = { workspace: string; personId: string };
type Place = { due: number; runId: string };

export const plan = statement<TriggerTables, Row>()((db, p) =>
  db.insertInto('agenda').values({
    due: p('due'),
    run_id: p('run_id'),
    workspace: p('workspace'),
    automation_id: p('automation_id'),
    version: p('version'),
    epoch: p('epoch'),
    person_id: p('person_id'),
    event_id: p('event_id'),
    event_at: p('event_at'),
    event: p('event'),
  }),
);

/** When the next thing happens, of all workspaces. */
export const soonest = statement<TriggerTables, object>()((db) => db.selectFrom('agenda').select(['due', 'run_id']).orderBy('due').orderBy('run_id').limit(1));

/** Takes what is due out of the agenda, soonest first; the rows come in any order. */
export const takeDue = statement<TriggerTables, { now: number; limit: number }>()((db, p) =>
  db
    .deleteFrom('agenda')
    .where((eb) =>
      eb(
        eb.refTuple('due', 'run_id'),
        'in',
        eb.selectFrom('agenda').select(['due', 'run_id']).where('due', '<=', p('now')).orderBy('due').orderBy('run_id').limit(p('limit')).$asTuple('due', 'run_id'),
      ),
    )
    .returningAll(),
);

export const putOff = statement<TriggerTables, Place & { until: number }>()((db, p) =>
  db.updateTable('agenda').set({ due: p('until') }).where('due', '=', p('due')).where('run_id', '=', p('runId')).returning(['workspace', 'automation_id', 'run_id']),
);

export const takePersons = statement<TriggerTables, Person & { limit: number }>()((db, p) =>
  db
    .deleteFrom('agenda')
    .where((eb) =>
      eb(
        eb.refTuple('due', 'run_id'),
        'in',
        eb.selectFrom('agenda').select(['due', 'run_id']).where('workspace', '=', p('workspace')).where('person_id', '=', p('personId')).limit(p('limit')).$asTuple('due', 'run_id'),
      ),
    )
    .returning(['automation_id', 'epoch']),
);

export const repoint = statement<TriggerTables, { workspace: string; from: string; into: string; limit: number }>()((db, p) =>
  db
    .updateTable('agenda')
    .set({ person_id: p('into') })
    .where((eb) =>
      eb(
        eb.refTuple('due', 'run_id'),
        'in',
        eb.selectFrom('agenda').select(['due', 'run_id']).where('workspace', '=', p('workspace')).where('person_id', '=', p('from')).limit(p('limit')).$asTuple('due', 'run_id'),
      ),
    )
    .returning('run_id'),
);

export const ofPerson = statement<TriggerTables, Person & { limit: number }>()((db, p) =>
  db
    .selectFrom('agenda')
    .select(['due', 'run_id', 'automation_id', 'version', 'epoch', 'event_id', 'event_at'])
    .where('workspace', '=', p('workspace'))
    .where('person_id', '=', p('personId'))
    .orderBy('due')
    .orderBy('run_id')
    .limit(p('limit')),
);

export const strike = statement<TriggerTables, Place>()((db, p) => db.deleteFrom('agenda').where('due', '=', p('due')).where('run_id', '=', p('runId')));

/** Of an automation that was turned off: what still lies there from before. */
export const purge = statement<TriggerTables, { workspace: string; automationId: string; epoch: number; limit: number }>()((db, p) =>
  db
    .deleteFrom('agenda')
    .where((eb) =>
      eb(
        eb.refTuple('due', 'run_id'),
        'in',
        eb
          .selectFrom('agenda')
          .select(['due', 'run_id'])
          .where('workspace', '=', p('workspace'))
          .where('automation_id', '=', p('automationId'))
          .where('epoch', '<', p('epoch'))
          .limit(p('limit'))
          .$asTuple('due', 'run_id'),
      ),
    )
    .returning('run_id'),
);

export const nextPurge = statement<TriggerTables, object>()((db) =>
  db
    .selectFrom('purges as p')
    .select((eb) => [
      'p.workspace',
      'p.automation_id',
      eb.selectFrom('automations as a').select('a.epoch').whereRef('a.workspace', '=', 'p.workspace').whereRef('a.id', '=', 'p.automation_id').as('epoch'),
    ])
    .limit(1),
);

export const purged = statement<TriggerTables, { workspace: string; automationId: string }>()((db, p) =>
  db.deleteFrom('purges').where('workspace', '=', p('workspace')).where('automation_id', '=', p('automationId')),
);
