import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../kernel/fault.ts';
import { statement, type Storage, type TableShape } from '../../ports/storage.ts';
import { rowLine, RowSum } from '../../fabric/row-sum.ts';
import { migrationsIn } from '../../fabric/storage-tables.ts';
import { fabricMigrations } from '../../fabric/tables.ts';
import type { Config } from '../config/config.ts';
import type { Parts } from '../config/parts.ts';
import { isAlone } from '../config/placement.ts';
import { leaveDataDir, takeDataDir } from '../control/socket.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { prepareDataDir } from '../host/data-dir.ts';
import { replaceDurably, syncFolder } from '../host/durable-file.ts';
import { writeInstallation } from '../host/installation.ts';
import { holdSending } from '../host/sending-hold.ts';
import { busProblem, closedDatabases, type ClosedDatabase } from './databases.ts';
import { type Header, keptColumns, type TableHead, type TableSum, valuesOf } from './format.ts';
import { readBackup } from './read-backup.ts';
import { MARKER, requireWhole } from './unfinished.ts';

const IGNORED = ['lost+found'];
const STOP_MS = 10_000;
/** Rows of one transaction, and transactions that share an fsync. */
const AT_ONCE = 4;
const TRANSACTION_MS = 60_000;

export interface RestoreJob {
  readonly file: string;
  readonly config: Config;
  readonly parts: Parts;
  readonly now: Date;
  /** Told of each table that is in. */
  onTable(sum: TableSum): void;
}

export interface Restored {
  /** The moment that the backup holds. */
  readonly created: string;
  readonly rows: number;
  /** Databases of the backup that this topology has no use for. */
  readonly left: readonly string[];
}

/**
 * Makes an installation of a backup: first reads all of it, so that nothing is begun with one that is damaged; then the
 * databases, each compared with the backup when it is in; last the file that makes the data directory an installation.
 * Sending is held from the start. Killed in the middle it leaves a data directory that no host starts on.
 * @throws BootProblem; Faults of the storage.
 */
export async function restore({ file, config, parts, now, onTable }: RestoreJob): Promise<Restored> {
  requireRestorable(config);
  const { header, tables } = await verify(file);
  const { dataDir } = config;
  const [host] = Object.keys(config.hosts) as [string];
  prepareDataDir(dataDir);
  requireEmpty(dataDir);
  const lock = await takeDataDir(dataDir, host);
  try {
    await replaceDurably(join(dataDir, MARKER), `${JSON.stringify({ created: header.created })}\n`);
    await holdSending(dataDir, { since: now.toISOString(), backup: header.created });
    const left = await fill({ file, header, tables, databases: await closedDatabases(config, parts), parts, onTable });
    await writeInstallation(dataDir, header.installation);
    await rm(join(dataDir, MARKER));
    await syncFolder(dataDir);
    return { created: header.created, rows: tables.reduce((sum, { rows }) => sum + rows, 0), left };
  } finally {
    await leaveDataDir(lock, dataDir, host);
  }
}

function requireRestorable(config: Config): void {
  const problem = busProblem(config);
  if (problem !== undefined) throw new BootProblem(`A backup is restored to the embedded bus; this topology has ${config.bus.driver}.`, 'Restore with the embedded bus; then take the messages there with "multilith bus move".');
  if (!isAlone(config)) throw new BootProblem('A backup is restored to one process, and this topology has several.', 'Restore with a topology of one host, let it send, and split it afterwards.');
}

function requireEmpty(dataDir: string): void {
  requireWhole(dataDir);
  const [found] = readdirSync(dataDir).filter((name) => !IGNORED.includes(name));
  if (found !== undefined) throw new BootProblem(`${dataDir} is not empty: there is ${found}. A restore overwrites nothing.`, 'Name an empty folder with MULTILITH_DATA, or move what is there away.');
}

async function verify(file: string): Promise<{ readonly header: Header; readonly tables: readonly TableSum[] }> {
  let header: Header | undefined;
  for await (const part of readBackup(file)) {
    if (part.kind === 'header') header = part.header;
    if (part.kind === 'end') return { header: header!, tables: part.tables };
  }
  throw new Error('A backup without an end is refused by its reader.');
}

interface Filling {
  readonly file: string;
  readonly header: Header;
  readonly tables: readonly TableSum[];
  readonly databases: ReadonlyMap<string, ClosedDatabase>;
  readonly parts: Parts;
  onTable(sum: TableSum): void;
}

async function fill(job: Filling): Promise<string[]> {
  const { file, header, tables, databases, onTable } = job;
  const open = new Map<string, Storage>();
  try {
    for (const { name, migrations } of header.databases) {
      const database = databases.get(name);
      if (database === undefined) continue;
      const storage = database.open();
      open.set(name, storage);
      await storage.start();
      await prepare(name, storage, migrations, database, job.parts);
    }
    await load(file, open);
    for (const sum of tables) {
      const storage = open.get(sum.database);
      if (storage === undefined) continue;
      await compare(storage, sum);
      onTable(sum);
    }
  } finally {
    for (const storage of open.values()) await storage.stop(STOP_MS);
  }
  return header.databases.map(({ name }) => name).filter((name) => !open.has(name));
}

/** Brings an empty database to where the backup's was. */
async function prepare(name: string, storage: Storage, migrations: readonly string[], { module }: ClosedDatabase, parts: Parts): Promise<void> {
  const { tables, migrations: here } = await look(storage);
  if (module === null) {
    if (here.join() !== migrations.join()) throw new BootProblem(`The database ${name} of the backup is not of the same build as this one.`, 'Restore it with the build that wrote it, and upgrade afterwards.');
    return;
  }
  if (tables.length > 0) throw new BootProblem(`The database of ${module} is not empty. A restore overwrites nothing.`, 'Name another schema or database in storage, or drop the schema.');
  const known = [...fabricMigrations, ...parts.modules.find((one) => one.name === module)!.migrations];
  const unknown = migrations.find((one) => !known.some((migration) => migration.name === one));
  if (unknown !== undefined) throw new BootProblem(`The backup was written by a newer build: ${module} has been through ${unknown}, which this one does not know.`, 'Restore it with that build, or a later one.');
  await storage.migrate(known.filter((migration) => migrations.includes(migration.name)));
}

async function look(storage: Storage): Promise<{ readonly tables: readonly TableShape[]; readonly migrations: string[] }> {
  const snapshot = await storage.snapshot();
  try {
    return { tables: snapshot.tables, migrations: await migrationsIn(snapshot) };
  } finally {
    await snapshot.close();
  }
}

async function load(file: string, open: ReadonlyMap<string, Storage>): Promise<void> {
  let insert: ((rows: readonly unknown[][]) => Promise<void>) | undefined;
  let underWay: Promise<void>[] = [];
  const settle = async () => void (await Promise.all(underWay.splice(0)));
  try {
    for await (const part of readBackup(file)) {
      if (part.kind === 'rows' && insert !== undefined) {
        underWay.push(insert(part.rows));
        if (underWay.length === AT_ONCE) await settle();
      }
      if (part.kind !== 'table') continue;
      // What refers to a row comes behind it.
      await settle();
      const storage = open.get(part.head.database);
      insert = storage && inserter(storage, part.head);
    }
    await settle();
  } finally {
    await Promise.allSettled(underWay);
  }
}

function inserter(storage: Storage, { table, columns }: TableHead): (rows: readonly unknown[][]) => Promise<void> {
  const insert = statement<any, Record<string, unknown>>()((db, p) => db.insertInto(table).values(Object.fromEntries(columns.map((column) => [column, p(column)]))));
  return (rows) =>
    storage.transaction(async (tx) => {
      for (const row of rows) {
        const values = valuesOf(row);
        await tx.run(insert, Object.fromEntries(columns.map((column, at) => [column, values[at]])));
      }
    }, { timeoutMs: TRANSACTION_MS });
}

/** What the database holds now, with what the backup holds. */
async function compare(storage: Storage, { database, table, rows, hash }: TableSum): Promise<void> {
  const snapshot = await storage.snapshot();
  try {
    const sum = new RowSum();
    const shape = snapshot.tables.find(({ name }) => name === table)!;
    const columns = keptColumns(shape);
    for await (const batch of snapshot.rows(shape)) for (const row of batch) sum.add(rowLine(row, columns));
    if (sum.rows === rows && sum.hash === hash) return;
    throw new Fault('internal', `The table ${table} of ${database} does not hold what the backup does: ${sum.rows} rows of ${rows}.`, { reason: 'restore_differs' });
  } finally {
    await snapshot.close();
  }
}
