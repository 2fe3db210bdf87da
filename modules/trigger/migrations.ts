import { type Kysely, sql } from 'kysely';
import type { Migration } from '../../src/ports/storage.ts';

/** Clustered by the primary key: no row is looked up twice. */
const clustered = sql`without rowid`;

const COUNTS = ['entered', 'waiting', 'sent', 'left_unqualified', 'left_gone', 'left_off', 'left_merged', 'turned_away'];

export const migrations: readonly Migration[] = [
  {
    name: '0001-automations',
    async up(db: Kysely<any>) {
      let automations = db.schema
        .createTable('automations')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('id', 'text', (c) => c.notNull())
        .addColumn('version', 'integer', (c) => c.notNull())
        .addColumn('epoch', 'integer', (c) => c.notNull())
        .addColumn('enabled', 'integer', (c) => c.notNull());
      for (const count of COUNTS) automations = automations.addColumn(count, 'bigint', (c) => c.notNull().defaultTo(0));
      await automations
        .addColumn('name', 'text', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('updated_at', 'bigint', (c) => c.notNull())
        .addPrimaryKeyConstraint('automations_pk', ['workspace', 'id'])
        .modifyEnd(clustered)
        .execute();
      await db.schema.createIndex('automations_by_time').on('automations').columns(['workspace', 'created_at', 'id']).execute();
      await db.schema
        .createTable('automation_versions')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('automation_id', 'text', (c) => c.notNull())
        .addColumn('version', 'integer', (c) => c.notNull())
        .addColumn('rule', 'text', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('saved_by', 'text')
        .addPrimaryKeyConstraint('automation_versions_pk', ['workspace', 'automation_id', 'version'])
        .execute();
    },
  },
  {
    name: '0002-people-and-entries',
    async up(db: Kysely<any>) {
      await db.schema
        .createTable('people')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('id', 'text', (c) => c.notNull())
        .addColumn('version', 'bigint', (c) => c.notNull())
        .addColumn('gone', 'integer', (c) => c.notNull())
        .addColumn('merged_into', 'text')
        .addColumn('facts', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('people_pk', ['workspace', 'id'])
        .modifyEnd(clustered)
        .execute();
      await db.schema
        .createTable('entries')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('person_id', 'text', (c) => c.notNull())
        .addColumn('automation_id', 'text', (c) => c.notNull())
        .addColumn('event_at', 'bigint', (c) => c.notNull())
        .addColumn('event_id', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('entries_pk', ['workspace', 'person_id', 'automation_id', 'event_at', 'event_id'])
        .modifyEnd(clustered)
        .execute();
    },
  },
  {
    name: '0003-agenda',
    async up(db: Kysely<any>) {
      await db.schema
        .createTable('agenda')
        .addColumn('due', 'bigint', (c) => c.notNull())
        .addColumn('run_id', 'text', (c) => c.notNull())
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('automation_id', 'text', (c) => c.notNull())
        .addColumn('version', 'integer', (c) => c.notNull())
        .addColumn('epoch', 'integer', (c) => c.notNull())
        .addColumn('person_id', 'text', (c) => c.notNull())
        .addColumn('event_id', 'text', (c) => c.notNull())
        .addColumn('event_at', 'bigint', (c) => c.notNull())
        .addColumn('event', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('agenda_pk', ['due', 'run_id'])
        .modifyEnd(clustered)
        .execute();
      await db.schema.createIndex('agenda_by_workspace').on('agenda').columns(['workspace', 'due', 'run_id']).execute();
      await db.schema.createIndex('agenda_by_automation').on('agenda').columns(['workspace', 'automation_id', 'epoch', 'due', 'run_id']).execute();
      await db.schema.createIndex('agenda_by_person').on('agenda').columns(['workspace', 'person_id', 'due', 'run_id']).execute();
      await db.schema
        .createTable('purges')
        .addColumn('workspace', 'text', (c) => c.notNull())
        .addColumn('automation_id', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('purges_pk', ['workspace', 'automation_id'])
        .modifyEnd(clustered)
        .execute();
    },
  },
  {
    name: '0004-revisions',
    async up(db: Kysely<any>) {
      await db.schema.alterTable('automations').addColumn('revision', 'bigint', (c) => c.notNull().defaultTo(0)).execute();
      await db.schema.createIndex('automations_by_revision').on('automations').columns(['workspace', 'revision']).execute();
    },
  },
];
