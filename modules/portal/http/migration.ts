import type { Migration } from '../../../src/ports/storage.ts';

/** Answers that are given again to the same Idempotency-Key. */
export const idempotencyMigration: Migration = {
  name: '0004-idempotency',
  async up(db) {
    await db.schema
      .createTable('idempotency_keys')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('fingerprint', 'text', (c) => c.notNull())
      .addColumn('answer', 'blob')
      .addColumn('expires_at', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema.createIndex('idempotency_keys_by_expiry').on('idempotency_keys').column('expires_at').execute();
  },
};
