import type { Kysely, RawBuilder } from 'kysely';
import type { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Migration, UNFINISHED } from '../../../src/ports/storage.ts';

/** What `migrate` needs of the storage: a transaction with room for a long change, apart from those of other processes. */
export type RunMigration = (work: (db: Kysely<any>) => Promise<void>) => Promise<void>;

/** What databases say each in its own way. */
export interface MigrationStatements {
  /** Makes the table `migrations` (name, applied) where it is not there. */
  readonly createTable: RawBuilder<unknown>;
  /** Has a row when the module's tables have a deferred constraint. */
  readonly deferredConstraints: RawBuilder<unknown>;
}

/**
 * Applies what is missing, each migration with its own mark in one transaction, in which it also looks whether another
 * process has been quicker.
 */
export async function migrate(migrations: readonly Migration[], statements: MigrationStatements, transaction: RunMigration, clock: Clock): Promise<void> {
  const done = await prepare(statements, transaction);
  refuseUnknown(done, migrations);
  for (const migration of migrations) {
    if (done.has(migration.name)) continue;
    await transaction(async (db) => {
      if ((await namesIn(db)).has(migration.name)) return;
      await migration.up(db);
      await refuseDeferred(db, statements, migration.name);
      await db.insertInto('migrations').values({ name: migration.name, applied: clock.now() }).execute();
    });
  }
}

async function prepare({ createTable }: MigrationStatements, transaction: RunMigration): Promise<Set<string>> {
  let done = new Set<string>();
  await transaction(async (db) => {
    await createTable.execute(db);
    done = await namesIn(db);
  });
  return done;
}

async function namesIn(db: Kysely<any>): Promise<Set<string>> {
  return new Set((await db.selectFrom('migrations').select('name').execute()).map(({ name }) => name as string));
}

function refuseUnknown(done: ReadonlySet<string>, migrations: readonly Migration[]): void {
  const known = new Set(migrations.map((migration) => migration.name));
  if (known.size !== migrations.length) throw new TypeError('Two migrations have the same name.');
  const unknown = [...done].filter((name) => !known.has(name)).sort();
  if (unknown.length === 0) return;
  if (unknown.includes(UNFINISHED)) throw new Fault('unavailable', 'A restore into this database has not come to its end, so that not all of the data is there.', { reason: 'restore_unfinished', details: { remedy: 'Restore again into the same database: it begins anew. Or drop the schema.' } });
  throw new Fault('unavailable', 'The database was written by a newer build.', {
    reason: 'newer_database',
    details: { unknown, remedy: 'Start the build that wrote it, or a later one; or restore a backup from before the upgrade.' },
  });
}

/** A deferred constraint is checked at COMMIT, which a whole group of transactions shares. */
async function refuseDeferred(db: Kysely<any>, { deferredConstraints }: MigrationStatements, migration: string): Promise<void> {
  const { rows } = await deferredConstraints.execute(db);
  if (rows.length > 0) throw new Fault('internal', `Migration ${migration} makes a deferred constraint, which adapters do not share.`, { reason: 'deferred_constraint' });
}
