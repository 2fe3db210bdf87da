import { sql } from 'kysely';
import type { Migration } from '../../../src/ports/storage.ts';

/** Segments, and who belongs to them: clustered by the primary key, by which lists are read. */
export const segmentsMigration: Migration = {
  name: '0020-segments',
  async up(db) {
    await db.schema
      .createTable('segments')
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('id', 'text', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('condition_id', 'text', (c) => c.notNull())
      .addColumn('condition_json', 'text', (c) => c.notNull())
      .addColumn('people', 'bigint', (c) => c.notNull())
      .addColumn('filled_to', 'text')
      .addColumn('looked_at', 'bigint', (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('updated_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('segments_pk', ['workspace_id', 'id'])
      .execute();
    await db.schema
      .createTable('segment_members')
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('segment_id', 'text', (c) => c.notNull())
      .addColumn('person_id', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('segment_members_pk', ['workspace_id', 'segment_id', 'person_id'])
      .modifyEnd(sql`without rowid`)
      .execute();
  },
};
