import type { Migration } from '../../../src/ports/storage.ts';

export const auditMigration: Migration = {
  name: '0002-audit',
  async up(db) {
    await db.schema
      .createTable('audit_entries')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace_id', 'text')
      .addColumn('actor_kind', 'text', (c) => c.notNull())
      .addColumn('actor_id', 'text', (c) => c.notNull())
      .addColumn('action', 'text', (c) => c.notNull())
      .addColumn('target_id', 'text')
      .addColumn('outcome', 'text', (c) => c.notNull())
      .addColumn('address', 'text', (c) => c.notNull())
      .addColumn('call_id', 'text', (c) => c.notNull())
      .addColumn('time', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('audit_entries_by_workspace').on('audit_entries').columns(['workspace_id', 'id']).execute();
    await db.schema.createIndex('audit_entries_by_time').on('audit_entries').column('time').execute();
  },
};

/** For the filters of the list, each in the list's order. */
export const auditFiltersMigration: Migration = {
  name: '0014-audit-filters',
  async up(db) {
    for (const column of ['actor_id', 'action', 'target_id']) {
      await db.schema.createIndex(`audit_entries_by_${column}`).on('audit_entries').columns(['workspace_id', column, 'id']).execute();
    }
  },
};
