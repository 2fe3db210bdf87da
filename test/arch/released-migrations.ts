import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { Migration, Storage } from '../../src/ports/storage.ts';

/** By migration, in order: a fingerprint of the schema that a database has once it has run. */
export type Fingerprints = Readonly<Record<string, string>>;

/** Runs them one after another on an empty database. What they do to rows leaves no trace here: there are none. */
export async function fingerprintsOf(migrations: readonly Migration[], empty: Storage): Promise<Fingerprints> {
  const prints: [string, string][] = [];
  for (const [index, { name }] of migrations.entries()) {
    await empty.migrate(migrations.slice(0, index + 1));
    prints.push([name, createHash('sha256').update(await schemaOf(empty)).digest('hex').slice(0, 16)]);
  }
  return Object.fromEntries(prints);
}

/** One line per problem: what differs from the record, and what to do. */
export function problemsWith(owner: string, found: Fingerprints, released: Fingerprints): string[] {
  const gone = Object.keys(released).find((name) => !(name in found));
  if (gone !== undefined) return [`${owner}: the released migration ${gone} is gone. Databases that have run it would be refused as written by a newer build; put it back.`];
  // Those behind it differ too, since each is recorded with all before it.
  const changed = Object.keys(found).find((name) => name in released && found[name] !== released[name]);
  if (changed !== undefined) return [`${owner}: what the released migration ${changed} makes has changed. Databases that have run it will not run it again: take the change back and add a new migration instead, at the end.`];
  const unrecorded = Object.entries(found).filter(([name]) => !(name in released));
  return unrecorded.map(([name, print]) => `${owner}: the migration ${name} is new. Record it by adding this line to ${JSON.stringify(owner)} in test/arch/released-migrations.json: ${JSON.stringify(name)}: ${JSON.stringify(print)}`);
}

async function schemaOf(storage: Storage): Promise<string> {
  // The storage driver's own table is not the migrations' work, nor is what SQLite adds for itself.
  const { rows } = await sql<{ sql: string }>`select sql from sqlite_schema where sql is not null and name <> 'migrations' and name not like 'sqlite_%' order by type, name`.execute(storage.db);
  return rows.map((row) => row.sql.replace(/\s+/g, ' ').trim()).join('\n');
}
