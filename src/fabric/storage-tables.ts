import { Fault } from '../kernel/fault.ts';
import { CHANGES, type Migration, type Snapshot, type Storage, type TableShape } from '../ports/storage.ts';

/** The table of those that have been applied. */
export const MIGRATIONS = 'migrations';
/** Tables that are about a database, and not of what is in it. */
export const CONTENTS_LEFT_OUT: ReadonlySet<string> = new Set([MIGRATIONS, CHANGES]);

/** Tables that hold rows of a module, those first that others refer to. */
export async function contentTables(storage: Storage): Promise<TableShape[]> {
  const snapshot = await storage.snapshot();
  await snapshot.close();
  return snapshot.tables.filter(({ name }) => !CONTENTS_LEFT_OUT.has(name));
}

/** The same of both sides. Faults: `conflict`/`schema_differs` when one has a table or a column that the other has not. */
export async function commonTables(from: Storage, to: Storage): Promise<TableShape[]> {
  const [here, there] = [await contentTables(from), await contentTables(to)];
  const shapes = new Map(there.map((table) => [table.name, shapeOf(table)]));
  const differing = [...here.filter((table) => shapes.get(table.name) !== shapeOf(table)), ...there.filter(({ name }) => !here.some((table) => table.name === name))].map(({ name }) => name);
  if (differing.length > 0) throw new Fault('conflict', `The two storages differ in their tables: ${differing.sort().join(', ')}.`, { reason: 'schema_differs' });
  return here;
}

/** Faults: `conflict`/`schema_differs` when something else than all of them, and only them, is applied there. */
export async function requireMigrated(storage: Storage, migrations: readonly Migration[]): Promise<void> {
  const snapshot = await storage.snapshot();
  const applied = await migrationsIn(snapshot).finally(() => snapshot.close());
  const missing = migrations.filter(({ name }) => !applied.includes(name)).map(({ name }) => name);
  const unknown = applied.filter((name) => !migrations.some((migration) => migration.name === name));
  if (missing.length === 0 && unknown.length === 0) return;
  const remedy = unknown.length > 0 ? 'Use the build that wrote it, or a later one.' : applied.length === 0 ? 'Name the topology that the host has run with.' : 'Start and stop the host once with this build: that brings its tables up to date.';
  throw new Fault('conflict', `The tables in ${storage.contents.place} are not those of this build.`, { reason: 'schema_differs', details: { missing, unknown, remedy } });
}

/** In the order in which they were applied. */
export async function migrationsIn(snapshot: Snapshot): Promise<string[]> {
  const table = snapshot.tables.find(({ name }) => name === MIGRATIONS);
  if (table === undefined) return [];
  const applied: { name: string; applied: number }[] = [];
  for await (const rows of snapshot.rows(table)) applied.push(...(rows as typeof applied));
  return applied.sort((a, b) => a.applied - b.applied).map(({ name }) => name);
}

function shapeOf({ columns, key, numbered }: TableShape): string {
  return JSON.stringify([[...columns].sort(), key, numbered]);
}
