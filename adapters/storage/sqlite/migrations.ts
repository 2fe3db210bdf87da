import { sql } from 'kysely';
import type { MigrationStatements } from '../shared/migrations.ts';

export const migrationStatements: MigrationStatements = {
  createTable: sql`CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied INTEGER NOT NULL) WITHOUT ROWID`,
  deferredConstraints: sql`SELECT name FROM sqlite_schema WHERE sql LIKE '%DEFERRABLE INITIALLY DEFERRED%'`,
};
