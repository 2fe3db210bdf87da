import type { Migration } from '../../../src/ports/storage.ts';

/** People, what their senders call them, and groups. */
export const peopleMigration: Migration = {
  name: '0010-people',
  async up(db) {
    await db.schema
      .createTable('people')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('version', 'bigint', (c) => c.notNull())
      .addColumn('user_id', 'text')
      .addColumn('email', 'text')
      .addColumn('email_key', 'text')
      .addColumn('attributes_json', 'text', (c) => c.notNull())
      .addColumn('stamps_json', 'text', (c) => c.notNull())
      .addColumn('time_zone', 'text')
      .addColumn('consent_email', 'text', (c) => c.notNull())
      .addColumn('consent_by', 'text', (c) => c.notNull())
      .addColumn('consent_at', 'bigint', (c) => c.notNull())
      .addColumn('gone', 'integer', (c) => c.notNull())
      .addColumn('merged_into', 'text')
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('updated_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('people_by_workspace').on('people').columns(['workspace_id', 'id']).execute();
    await db.schema.createIndex('people_by_email').on('people').columns(['workspace_id', 'email_key', 'id']).where('email_key', 'is not', null).execute();
    await db.schema.createIndex('people_by_user_id').on('people').columns(['workspace_id', 'user_id', 'id']).where('user_id', 'is not', null).execute();
    await db.schema.createIndex('people_by_survivor').on('people').column('merged_into').where('merged_into', 'is not', null).execute();
    await db.schema
      .createTable('identities')
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('kind', 'text', (c) => c.notNull())
      .addColumn('value', 'text', (c) => c.notNull())
      .addColumn('person_id', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('identities_pk', ['workspace_id', 'kind', 'value'])
      .execute();
    await db.schema.createIndex('identities_by_person').on('identities').column('person_id').execute();
    await db.schema
      .createTable('erased_identities')
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('hash', 'text', (c) => c.notNull())
      .addColumn('erased_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('erased_identities_pk', ['workspace_id', 'hash'])
      .execute();
    await db.schema.createIndex('erased_identities_by_age').on('erased_identities').column('erased_at').execute();
    await db.schema
      .createTable('groups')
      .addColumn('workspace_id', 'text', (c) => c.notNull())
      .addColumn('group_id', 'text', (c) => c.notNull())
      .addColumn('traits_json', 'text', (c) => c.notNull())
      .addColumn('stamps_json', 'text', (c) => c.notNull())
      .addColumn('updated_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('groups_pk', ['workspace_id', 'group_id'])
      .execute();
  },
};

/** Of the list of people: a list of those who stay does not walk past all who have gone. */
export const peopleByStayingMigration: Migration = {
  name: '0015-people-by-staying',
  async up(db) {
    await db.schema.createIndex('people_by_staying').on('people').columns(['workspace_id', 'gone', 'id']).execute();
    await db.schema.dropIndex('people_by_workspace').execute();
  },
};
