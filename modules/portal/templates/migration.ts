import type { Migration } from '../../../src/ports/storage.ts';

export const templatesMigration: Migration = {
  name: '0003-templates',
  async up(db) {
    await db.schema
      .createTable('templates')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('draft_json', 'text', (c) => c.notNull())
      .addColumn('revision', 'integer', (c) => c.notNull())
      .addColumn('published_version', 'integer')
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('updated_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('templates_by_workspace').on('templates').columns(['workspace_id', 'id']).execute();
    await db.schema.createIndex('templates_by_name').on('templates').columns(['workspace_id', 'name', 'id']).execute();
    await db.schema
      .createTable('template_versions')
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('template_id', 'text', (c) => c.notNull().references('templates.id'))
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('content_json', 'text', (c) => c.notNull())
      .addColumn('compiled_json', 'text', (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('created_by', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('template_versions_pk', ['template_id', 'version'])
      .execute();
  },
};
