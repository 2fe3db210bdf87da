import { statement, type Migration } from '../../../src/ports/storage.ts';

export interface OutboxTables {
  mails: {
    /** Rises with time: the order of the list, and its cursor. */
    id: string;
    workspace: string;
    delivery_id: string;
    stored_at: number;
    bytes: number;
    raw: Uint8Array;
  };
}

export const outboxMigrations: readonly Migration[] = [
  {
    name: '0001-mails',
    async up(db) {
      await db.schema
        .createTable('mails')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('delivery_id', 'text', (c) => c.notNull())
        .addColumn('stored_at', 'bigint', (c) => c.notNull())
        .addColumn('bytes', 'integer', (c) => c.notNull())
        .addColumn('raw', 'blob', (c) => c.notNull())
        .addUniqueConstraint('mails_delivery', ['workspace', 'delivery_id'])
        .execute();
      await db.schema.createIndex('mails_newest').on('mails').columns(['workspace', 'id']).execute();
    },
  },
];

/** A mail that is sent again (its first answer was lost) replaces itself: one delivery is one mail here. */
export const keep = statement<OutboxTables, OutboxTables['mails']>()((db, p) =>
  db
    .insertInto('mails')
    .values({ id: p('id'), workspace: p('workspace'), delivery_id: p('delivery_id'), stored_at: p('stored_at'), bytes: p('bytes'), raw: p('raw') })
    .onConflict((c) => c.columns(['workspace', 'delivery_id']).doUpdateSet({ raw: p('raw'), bytes: p('bytes'), stored_at: p('stored_at') })),
);

export const forget = statement<OutboxTables, { workspace: string; delivery_id: string }>()((db, p) =>
  db.deleteFrom('mails').where('workspace', '=', p('workspace')).where('delivery_id', '=', p('delivery_id')),
);

export const dropOldest = statement<OutboxTables, { workspace: string; keep: number }>()((db, p) =>
  db
    .deleteFrom('mails')
    .where('workspace', '=', p('workspace'))
    .where('id', '<=', (eb) => eb.selectFrom('mails').select('id').where('workspace', '=', p('workspace')).orderBy('id', 'desc').limit(1).offset(p('keep'))),
);
