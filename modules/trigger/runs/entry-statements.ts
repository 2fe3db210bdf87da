import { statement } from '../../../src/ports/storage.ts';
import type { TriggerTables } from '../tables.ts';

type Person = { workspace: string; personId: string };
type Entry = Person & { automationId: string; eventAt: number; eventId: string };

/**
 * Enters a person in one step: only when the automation is as the caller knows it, the event has not entered before,
 * and no other entry lies in the re-entry rule's window. No row says that one of these failed.
 */
export const enter = statement<TriggerTables, Entry & { version: number; epoch: number; after: number; before: number }>()((db, p) =>
  db
    .insertInto('entries')
    .columns(['workspace', 'person_id', 'automation_id', 'event_at', 'event_id'])
    .expression((eb) =>
      eb
        .selectFrom('automations as a')
        .select((s) => [
          'a.workspace',
          s.cast<string>(s.val(p('personId')), 'text').as('person_id'),
          'a.id as automation_id',
          s.cast<number>(s.val(p('eventAt')), 'bigint').as('event_at'),
          s.cast<string>(s.val(p('eventId')), 'text').as('event_id'),
        ])
        .where('a.workspace', '=', p('workspace'))
        .where('a.id', '=', p('automationId'))
        .where('a.version', '=', p('version'))
        .where('a.epoch', '=', p('epoch'))
        .where('a.enabled', '=', 1)
        .where((w) =>
          w.not(
            w.exists(
              w
                .selectFrom('entries as e')
                .select('e.event_id')
                .where('e.workspace', '=', p('workspace'))
                .where('e.person_id', '=', p('personId'))
                .where('e.automation_id', '=', p('automationId'))
                .where('e.event_at', '>', p('after'))
                .where('e.event_at', '<', p('before')),
            ),
          ),
        ),
    )
    .onConflict((conflict) => conflict.doNothing())
    .returning('event_id'),
);

/** Whether the event has entered the automation already. */
export const hasEntered = statement<TriggerTables, Entry>()((db, p) =>
  db
    .selectFrom('entries')
    .select('event_id')
    .where('workspace', '=', p('workspace'))
    .where('person_id', '=', p('personId'))
    .where('automation_id', '=', p('automationId'))
    .where('event_at', '=', p('eventAt'))
    .where('event_id', '=', p('eventId')),
);

/** Other entries of a person within a window. */
export const entriesWithin = statement<TriggerTables, Person & { automationId: string; after: number; before: number; limit: number }>()((db, p) =>
  db
    .selectFrom('entries')
    .select('event_id')
    .where('workspace', '=', p('workspace'))
    .where('person_id', '=', p('personId'))
    .where('automation_id', '=', p('automationId'))
    .where('event_at', '>', p('after'))
    .where('event_at', '<', p('before'))
    .limit(p('limit')),
);

export const copyEntries = statement<TriggerTables, { workspace: string; from: string; into: string }>()((db, p) =>
  db
    .insertInto('entries')
    .columns(['workspace', 'person_id', 'automation_id', 'event_at', 'event_id'])
    .expression((eb) =>
      eb
        .selectFrom('entries as e')
        .select((s) => ['e.workspace', s.cast<string>(s.val(p('into')), 'text').as('person_id'), 'e.automation_id', 'e.event_at', 'e.event_id'])
        .where('e.workspace', '=', p('workspace'))
        .where('e.person_id', '=', p('from')),
    )
    .onConflict((conflict) => conflict.doNothing()),
);

export const dropEntries = statement<TriggerTables, Person>()((db, p) =>
  db.deleteFrom('entries').where('workspace', '=', p('workspace')).where('person_id', '=', p('personId')).returning('event_id'),
);

export const dropEntry = statement<TriggerTables, Entry>()((db, p) =>
  db
    .deleteFrom('entries')
    .where('workspace', '=', p('workspace'))
    .where('person_id', '=', p('personId'))
    .where('automation_id', '=', p('automationId'))
    .where('event_at', '=', p('eventAt'))
    .where('event_id', '=', p('eventId')),
);
