import { basename } from 'node:path';
import { postgres } from '../../adapters/storage/postgres/driver.ts';
import { sqlite } from '../../adapters/storage/sqlite/driver.ts';
import type { DriverContext } from '../../src/kernel/driver.ts';
import type { Storage } from '../../src/ports/storage.ts';
import { schemaFor } from './postgres.ts';

/** The port of a PostgreSQL server that the modules under test store in; left out: SQLite in their own folder. */
export const TEST_POSTGRES = 'MULTILITH_TEST_POSTGRES';

/** A module's own database, new in a new folder. `sqliteSettings` are for SQLite alone. */
export function moduleStorage(context: DriverContext, name: string, sqliteSettings: object = {}): Storage {
  const port = process.env[TEST_POSTGRES];
  if (port === undefined) return sqlite.create(sqlite.settings.parse(sqliteSettings), { ...context, name });
  const schema = schemaFor(`${basename(context.dataDir)}-${name}`);
  return postgres.create(postgres.settings.parse({ port: Number(port), database: 'postgres', user: 'app', schema, durability: 'process-crash' }), { ...context, name });
}
