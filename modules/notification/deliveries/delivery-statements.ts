import { sql } from 'kysely';
import { statement } from '../../../src/ports/storage.ts';
import type { NotificationTables } from '../tables.ts';

type Row = NotificationTables['deliveries'];
type Key = Pick<Row, 'workspace' | 'id'>;

export const findDelivery = statement<NotificationTables, Key>()((db, p) => db.selectFrom('deliveries').selectAll().where('workspace', '=', p('workspace')).where('id', '=', p('id')));

/** No row comes back for a delivery that exists. */
export const insertDelivery = statement<NotificationTables, Row>()((db, p) =>
  db
    .insertInto('deliveries')
    .values({
      workspace: p('workspace'),
      id: p('id'),
      person_id: p('person_id'),
      channel: p('channel'),
      template_id: p('template_id'),
      template_version: p('template_version'),
      source_kind: p('source_kind'),
      source_id: p('source_id'),
      source_version: p('source_version'),
      run_id: p('run_id'),
      event_id: p('event_id'),
      to_address: p('to_address'),
      state: p('state'),
      reason: p('reason'),
      message_id: p('message_id'),
      may_be_repeated: p('may_be_repeated'),
      tries: p('tries'),
      attempts: p('attempts'),
      next_attempt_at: p('next_attempt_at'),
      created_at: p('created_at'),
      updated_at: p('updated_at'),
    })
    .onConflict((c) => c.doNothing())
    .returning(['workspace', 'id']),
);

/**
 * From one state to another; no row comes back when it has been written since. The time of the last write stands for it,
 * since the state alone may be the same again: another process took the delivery for cut off and sends it anew.
 */
export const moveDelivery = statement<
  NotificationTables,
  Key & Pick<Row, 'person_id' | 'state' | 'reason' | 'may_be_repeated' | 'tries' | 'attempts' | 'next_attempt_at' | 'updated_at' | 'to_address' | 'template_version' | 'message_id'> & { from: Row['state']; written_at: Row['updated_at'] }
>()((db, p) =>
  db
    .updateTable('deliveries')
    .set({
      person_id: p('person_id'),
      state: p('state'),
      reason: p('reason'),
      may_be_repeated: p('may_be_repeated'),
      tries: p('tries'),
      attempts: p('attempts'),
      next_attempt_at: p('next_attempt_at'),
      updated_at: p('updated_at'),
      to_address: p('to_address'),
      template_version: p('template_version'),
      message_id: p('message_id'),
    })
    .where('workspace', '=', p('workspace'))
    .where('id', '=', p('id'))
    .where('state', '=', p('from'))
    .where('updated_at', '=', p('written_at'))
    .returning(['workspace', 'id']),
);

export const addToCount = statement<NotificationTables, NotificationTables['delivery_counts']>()((db, p) =>
  db
    .insertInto('delivery_counts')
    .values({ workspace: p('workspace'), source_id: p('source_id'), shard: p('shard'), bucket: p('bucket'), reason: p('reason'), amount: p('amount') })
    .onConflict((c) => c.columns(['workspace', 'source_id', 'shard', 'bucket', 'reason']).doUpdateSet({ amount: sql<number>`delivery_counts.amount + excluded.amount` })),
);

/** Who of so many subjects is in the list, the smallest number first: each is prepared for itself. */
export const findSuppressions = [2, 8, 32, 128].map((size) => ({
  size,
  statement: statement<NotificationTables, { workspace: string; channel: string } & Record<string, string>>()((db, p) =>
    db
      .selectFrom('suppressions')
      .select(['subject', 'reason'])
      .where('workspace', '=', p('workspace'))
      .where('channel', '=', p('channel'))
      .where('subject', 'in', Array.from({ length: size }, (_, i) => p(`s${i}`))),
  ),
}));

export const dropTestMail = statement<NotificationTables, { workspace: string; delivery_id: string }>()((db, p) =>
  db.deleteFrom('test_mails').where('workspace', '=', p('workspace')).where('delivery_id', '=', p('delivery_id')),
);
