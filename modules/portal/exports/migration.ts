import type { Migration } from '../../../src/ports/storage.ts';

/** Files that were asked for. */
export const exportsMigration: Migration = {
  name: '0019-exports',
  async up(db) {
    await db.schema
      .createTable('exports')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('what', 'text', (c) => c.notNull())
      .addColumn('format', 'text', (c) => c.notNull())
      .addColumn('state', 'text', (c) => c.notNull())
      .addColumn('reason', 'text')
      .addColumn('rows', 'bigint')
      .addColumn('bytes', 'bigint')
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('created_by', 'text', (c) => c.notNull())
      .addColumn('expires_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('exports_by_workspace').on('exports').columns(['workspace_id', 'id']).execute();
    await db.schema.createIndex('exports_by_expiry').on('exports').column('expires_at').execute();
  },
};

/** Of one segment instead of everybody. */
export const exportSegmentsMigration: Migration = {
  name: '0023-export-segments',
  async up(db) {
    await db.schema.alterTable('exports').addColumn('segment_id', 'text').execute();
  },
};
