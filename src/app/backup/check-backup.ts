import type { Config } from '../config/config.ts';
import type { Parts } from '../config/parts.ts';
import { fabricMigrations } from '../../fabric/tables.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { BUS, type Header, type TableSum } from './format.ts';
import { readBackup } from './read-backup.ts';

/** A backup that has been read to its end. */
export interface Checked {
  readonly header: Header;
  readonly tables: readonly TableSum[];
  /** Of all of it. */
  readonly sha256: string;
  /** What the rows of each database take as text, in characters. */
  readonly sizes: ReadonlyMap<string, number>;
}

/** Reads all of it, and writes nothing. @throws BootProblem when it is not whole, or no backup. */
export async function checkBackup(file: string): Promise<Checked> {
  const sizes = new Map<string, number>();
  let header: Header | undefined;
  let database = '';
  for await (const part of readBackup(file)) {
    if (part.kind === 'header') header = part.header;
    if (part.kind === 'table') database = part.head.database;
    if (part.kind === 'rows') sizes.set(database, (sizes.get(database) ?? 0) + part.characters);
    if (part.kind === 'end') return { header: header!, tables: part.tables, sha256: part.sha256, sizes };
  }
  throw new Error('A backup without an end is refused by its reader.');
}

/** @throws BootProblem when the topology needs what the backup does not have, or this build does not know what it has. */
export function requireFitting({ databases }: Header, { hosts }: Config, parts: Parts): void {
  const names = databases.map(({ name }) => name);
  const missing = [...Object.values(hosts).flatMap(({ modules }) => modules), BUS].filter((name) => !names.includes(name));
  if (missing.length > 0) throw new BootProblem(`The backup has nothing of ${missing.join(', ')}, which this topology needs; it has ${names.join(', ') || 'nothing'}.`, 'Name a topology of the modules that the backup has.');
  for (const { name, migrations } of databases) {
    const module = parts.modules.find((one) => one.name === name);
    if (module === undefined) continue;
    const known = new Set([...fabricMigrations, ...module.migrations].map((migration) => migration.name));
    const unknown = migrations.find((one) => !known.has(one));
    if (unknown !== undefined) throw new BootProblem(`The backup was written by a newer build: ${name} has been through ${unknown}, which this one does not know.`, 'Restore it with that build, or a later one.');
  }
}
