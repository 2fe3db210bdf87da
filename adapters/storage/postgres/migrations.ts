import { sql } from 'kysely';
import type { MigrationStatements } from '../shared/migrations.ts';

export const migrationStatements: MigrationStatements = {
  createTable: sql`CREATE TABLE IF NOT EXISTS migrations (name text COLLATE "C" PRIMARY KEY, applied bigint NOT NULL)`,
  deferredConstraints: sql`SELECT 1 FROM pg_constraint WHERE condeferred AND connamespace = current_schema()::regnamespace LIMIT 1`,
};
