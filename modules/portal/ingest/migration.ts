import type { Migration } from '../../../src/ports/storage.ts';

/** What has been taken, and what was refused. */
export const ingestMigration: Migration = {
  name: '0012-ingest',
  async up(db) {
    // No index by age: SDKs make ids that begin with the time, so that rows append to one tree; a second costs half as much again.
    await db.schema
      .createTable('seen_messages')
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('message_id', 'text', (c) => c.notNull())
      .addColumn('seen_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('seen_messages_pk', ['workspace_id', 'message_id'])
      .execute();
    await db.schema
      .createTable('ingest_problems')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('time', 'bigint', (c) => c.notNull())
      .addColumn('message_id', 'text')
      .addColumn('type', 'text')
      .addColumn('reason', 'text', (c) => c.notNull())
      .addColumn('detail', 'text', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('ingest_problems_by_workspace').on('ingest_problems').columns(['workspace_id', 'id']).execute();
  },
};
