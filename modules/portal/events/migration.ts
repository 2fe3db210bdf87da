import type { Migration } from '../../../src/ports/storage.ts';

/** The event log. */
export const eventsMigration: Migration = {
  name: '0011-events',
  async up(db) {
    await db.schema
      .createTable('events')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('person_id', 'text', (c) => c.notNull())
      .addColumn('type', 'text', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('properties_json', 'text', (c) => c.notNull())
      .addColumn('context_json', 'text')
      .addColumn('time', 'bigint', (c) => c.notNull())
      .addColumn('received_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('events_by_person').on('events').columns(['person_id', 'time', 'id']).execute();
  },
};

/** For the newest events of a whole workspace. */
export const eventsByWorkspaceMigration: Migration = {
  name: '0013-events-by-workspace',
  async up(db) {
    await db.schema.createIndex('events_by_workspace').on('events').columns(['workspace_id', 'id']).execute();
  },
};
