import type { Migration } from '../../../src/ports/storage.ts';

/** Files of people that were sent in, how far each has been read, and what of it was refused. */
export const importsMigration: Migration = {
  name: '0021-imports',
  async up(db) {
    await db.schema
      .createTable('imports')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('format', 'text', (c) => c.notNull())
      .addColumn('state', 'text', (c) => c.notNull())
      .addColumn('reason', 'text')
      .addColumn('bytes', 'bigint')
      .addColumn('position', 'bigint', (c) => c.notNull())
      .addColumn('line', 'bigint', (c) => c.notNull())
      .addColumn('accepted', 'bigint', (c) => c.notNull())
      .addColumn('refused', 'bigint', (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('created_by', 'text', (c) => c.notNull())
      .addColumn('started_at', 'bigint')
      .addColumn('progressed_at', 'bigint', (c) => c.notNull())
      .addColumn('finished_at', 'bigint')
      .addColumn('expires_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('imports_by_workspace').on('imports').columns(['workspace_id', 'id']).execute();
    await db.schema.createIndex('imports_by_expiry').on('imports').column('expires_at').execute();
    await db.schema
      .createTable('import_refusals')
      .addColumn('import_id', 'text', (c) => c.notNull())
      .addColumn('line', 'bigint', (c) => c.notNull())
      .addColumn('nth', 'integer', (c) => c.notNull())
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('field', 'text', (c) => c.notNull())
      .addColumn('reason', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('import_refusals_pk', ['import_id', 'line', 'nth'])
      .execute();
  },
};
