import type { Migration } from '../../../src/ports/storage.ts';

/** Workspaces, users, sessions and keys. */
export const accessMigration: Migration = {
  name: '0001-access',
  async up(db) {
    await db.schema.createTable('workspaces').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('name', 'text', (c) => c.notNull()).addColumn('created_at', 'bigint', (c) => c.notNull()).execute();
    await db.schema
      .createTable('users')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('email', 'text', (c) => c.notNull())
      .addColumn('email_key', 'text', (c) => c.notNull().unique())
      .addColumn('password_hash', 'text', (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema
      .createTable('memberships')
      .addColumn('workspace_id', 'text', (c) => c.notNull().references('workspaces.id'))
      .addColumn('user_id', 'text', (c) => c.notNull().references('users.id'))
      .addColumn('role', 'text', (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('memberships_pk', ['user_id', 'workspace_id'])
      .execute();
    await db.schema
      .createTable('sessions')
      .addColumn('secret_hash', 'text', (c) => c.primaryKey())
      .addColumn('id', 'text', (c) => c.notNull().unique())
      .addColumn('user_id', 'text', (c) => c.notNull().references('users.id'))
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('last_seen_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('sessions_by_user').on('sessions').column('user_id').execute();
    await db.schema.createIndex('sessions_by_age').on('sessions').column('last_seen_at').execute();
    await db.schema.createTable('setup_links').addColumn('secret_hash', 'text', (c) => c.primaryKey()).addColumn('expires_at', 'bigint', (c) => c.notNull()).execute();
    await db.schema
      .createTable('api_keys')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('workspace_id', 'text', (c) => c.notNull().references('workspaces.id'))
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('prefix', 'text', (c) => c.notNull())
      .addColumn('secret_hash', 'text', (c) => c.notNull().unique())
      .addColumn('scopes_json', 'text', (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('created_by', 'text', (c) => c.notNull())
      .addColumn('last_used_at', 'bigint')
      .addColumn('revoked_at', 'bigint')
      .execute();
    await db.schema.createIndex('api_keys_by_workspace').on('api_keys').columns(['workspace_id', 'id']).execute();
  },
};

/** Where users have logged in from. */
export const loginNetworksMigration: Migration = {
  name: '0016-login-networks',
  async up(db) {
    await db.schema
      .createTable('login_networks')
      .addColumn('user_id', 'text', (c) => c.notNull().references('users.id'))
      .addColumn('network', 'text', (c) => c.notNull())
      .addColumn('seen_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('login_networks_pk', ['user_id', 'network'])
      .execute();
  },
};

/** Users who tend the installation as a whole. Whoever there was by then had come by the set-up link. */
export const operatorsMigration: Migration = {
  name: '0017-operators',
  async up(db) {
    await db.schema.alterTable('users').addColumn('operator', 'integer', (c) => c.notNull().defaultTo(0)).execute();
    await db.updateTable('users').set({ operator: 1 }).execute();
  },
};

/** What each session and each key has written last, for lists that may come from a server that is behind. */
export const lastWritesMigration: Migration = {
  name: '0022-last-writes',
  async up(db) {
    for (const table of ['sessions', 'api_keys']) await db.schema.alterTable(table).addColumn('last_write', 'text').execute();
  },
};

/** Logins that failed, by what throttles them; keys are hashes. */
export const loginFailuresMigration: Migration = {
  name: '0018-login-failures',
  async up(db) {
    await db.schema
      .createTable('login_failures')
      .addColumn('kind', 'text', (c) => c.notNull())
      .addColumn('key', 'text', (c) => c.notNull())
      .addColumn('count', 'integer', (c) => c.notNull())
      .addColumn('last_at', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('login_failures_pk', ['kind', 'key'])
      .execute();
    await db.schema.createIndex('login_failures_by_time').on('login_failures').columns(['kind', 'last_at']).execute();
  },
};
