import type { Migration } from '../../src/ports/storage.ts';

export const migrations: readonly Migration[] = [
  {
    name: '0001-deliveries',
    async up(db) {
      await db.schema
        .createTable('deliveries')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('id', 'text', (c) => c.notNull())
        .addColumn('person_id', 'text', (c) => c.notNull())
        .addColumn('channel', 'text', (c) => c.notNull())
        .addColumn('template_id', 'text', (c) => c.notNull())
        .addColumn('template_version', 'integer')
        .addColumn('source_kind', 'text', (c) => c.notNull())
        .addColumn('source_id', 'text', (c) => c.notNull())
        .addColumn('source_version', 'integer', (c) => c.notNull())
        .addColumn('run_id', 'text', (c) => c.notNull())
        .addColumn('event_id', 'text', (c) => c.notNull())
        .addColumn('to_address', 'text')
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('reason', 'text')
        .addColumn('message_id', 'text', (c) => c.notNull())
        .addColumn('may_be_repeated', 'integer', (c) => c.notNull())
        .addColumn('tries', 'integer', (c) => c.notNull())
        .addColumn('attempts', 'text', (c) => c.notNull())
        .addColumn('next_attempt_at', 'bigint')
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('updated_at', 'bigint', (c) => c.notNull())
        .addPrimaryKeyConstraint('deliveries_pk', ['workspace', 'id'])
        .execute();
      for (const [name, columns] of [
        ['deliveries_newest', ['workspace', 'created_at', 'id']],
        ['deliveries_of_person', ['workspace', 'person_id', 'created_at', 'id']],
        ['deliveries_of_source', ['workspace', 'source_id', 'created_at', 'id']],
        ['deliveries_in_state', ['workspace', 'state', 'created_at', 'id']],
      ] as const) {
        await db.schema.createIndex(name).on('deliveries').columns([...columns]).execute();
      }
      await db.schema
        .createTable('delivery_counts')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('source_id', 'text', (c) => c.notNull())
        .addColumn('shard', 'integer', (c) => c.notNull())
        .addColumn('bucket', 'text', (c) => c.notNull())
        .addColumn('reason', 'text', (c) => c.notNull())
        .addColumn('amount', 'integer', (c) => c.notNull())
        .addPrimaryKeyConstraint('delivery_counts_pk', ['workspace', 'source_id', 'shard', 'bucket', 'reason'])
        .execute();
    },
  },
  {
    name: '0002-suppressions',
    async up(db) {
      await db.schema
        .createTable('suppressions')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('channel', 'text', (c) => c.notNull())
        .addColumn('subject', 'text', (c) => c.notNull())
        .addColumn('kind', 'text', (c) => c.notNull())
        .addColumn('address', 'text')
        .addColumn('reason', 'text', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addPrimaryKeyConstraint('suppressions_pk', ['workspace', 'channel', 'subject'])
        .execute();
      await db.schema.createIndex('suppressions_newest').on('suppressions').columns(['workspace', 'kind', 'created_at', 'channel', 'subject']).execute();
      await db.schema.createIndex('suppressions_by_address').on('suppressions').columns(['workspace', 'channel', 'address']).execute();
    },
  },
  {
    name: '0003-test-mails',
    async up(db) {
      await db.schema
        .createTable('test_mails')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('delivery_id', 'text', (c) => c.notNull())
        .addColumn('mail', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('test_mails_pk', ['workspace', 'delivery_id'])
        .execute();
    },
  },
  {
    name: '0004-template-uses',
    async up(db) {
      await db.schema
        .createTable('template_uses')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('template_id', 'text', (c) => c.notNull())
        .addColumn('used_at', 'bigint', (c) => c.notNull())
        .addPrimaryKeyConstraint('template_uses_pk', ['workspace', 'template_id'])
        .execute();
      await db.schema.createIndex('template_uses_newest').on('template_uses').columns(['used_at']).execute();
    },
  },
];
