import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { fabricMigrations } from '../../fabric/tables.ts';
import type { Config } from '../config/config.ts';
import { type Parts, probe } from '../config/parts.ts';
import { isAlone } from '../config/placement.ts';
import { leaveDataDir, takeDataDir } from '../control/socket.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { prepareDataDir } from '../host/data-dir.ts';
import { busDatabase } from '../host/drivers.ts';
import { writeInstallation } from '../host/installation.ts';
import { holdSending } from '../host/sending-hold.ts';
import { type Checked, checkBackup, requireFitting } from './check-backup.ts';
import { type ClosedDatabase, driverDatabases, moduleDatabases } from './databases.ts';
import type { TableSum } from './format.ts';
import { readBackup } from './read-backup.ts';
import { RestoreTarget } from './restore-target.ts';
import { beginRestore, endRestore, filledWith, noteFilled, requireEmpty } from './unfinished.ts';

const STOP_MS = 10_000;
/** Batches of rows, a transaction each, that share an fsync. */
const AT_ONCE = 4;

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
 * Makes an installation of a backup: first reads all of it, and looks at everything that it will fill, so that nothing
 * is begun that cannot come to its end; then the databases, each compared with the backup when it is in; last the file
 * that makes the data directory an installation. Sending is held from the start. Killed in the middle, or failed, it leaves
 * a data directory and databases that no host starts on, and that the next restore begins anew in.
 * @throws BootProblem; Faults of the storage.
 */
export async function restore(job: RestoreJob): Promise<Restored> {
  const { file, config, parts } = job;
  const { dataDir } = config;
  requireRestorable(config);
  const backup = await checkBackup(file);
  const { header, tables } = backup;
  requireFitting(header, config, parts);
  prepareDataDir(dataDir);
  requireEmpty(dataDir);
  const [host] = Object.keys(config.hosts) as [string];
  const lock = await takeDataDir(dataDir, host);
  const targets = new Targets(job, backup);
  try {
    await targets.openShared();
    if (filledWith(dataDir) === backup.sha256) await targets.requireFilled();
    else await fill(job, backup, targets);
    for (const target of targets.all) await target.finish();
    await endRestore(dataDir);
    return { created: header.created, rows: tables.reduce((sum, { rows }) => sum + rows, 0), left: header.databases.map(({ name }) => name).filter((name) => targets.get(name) === undefined) };
  } finally {
    await targets.stop();
    await leaveDataDir(lock, dataDir, host);
  }
}

/** To where nothing is left to do but to let hosts start. */
async function fill({ file, config: { dataDir }, now, onTable }: RestoreJob, { header, tables, sha256 }: Checked, targets: Targets): Promise<void> {
  await targets.requireEmpty();
  await targets.requireRoom();
  await beginRestore(dataDir, header.created);
  await holdSending(dataDir, { since: now.toISOString(), backup: header.created });
  await targets.openOwn();
  for (const target of targets.all) await target.prepare();
  await load(file, targets);
  for (const sum of tables) {
    const target = targets.get(sum.database);
    if (target === undefined) continue;
    await target.compare(sum);
    onTable(sum);
  }
  await writeInstallation(dataDir, header.installation);
  await noteFilled(dataDir, sha256);
}

function requireRestorable(config: Config): void {
  if (config.bus.driver !== 'embedded') throw new BootProblem(`A backup is restored to the embedded bus; this topology has ${config.bus.driver}.`, 'Restore with the embedded bus; then take the messages there with "multilith bus move".');
  if (!isAlone(config)) throw new BootProblem('A backup is restored to one process, and this topology has several.', 'Restore with a topology of one host, let it send, and split it afterwards.');
}

/** The databases that a restore fills. */
class Targets {
  readonly #job: RestoreJob;
  readonly #backup: Checked;
  readonly #open = new Map<string, RestoreTarget>();
  /** Databases that are no files of the data directory. */
  readonly #elsewhere = new Set<string>();

  constructor(job: RestoreJob, backup: Checked) {
    this.#job = job;
    this.#backup = backup;
  }

  get all(): Iterable<RestoreTarget> {
    return this.#open.values();
  }

  get(database: string): RestoreTarget | undefined {
    return this.#open.get(database);
  }

  /** Those on a server. */
  async openShared(): Promise<void> {
    const { config, parts } = this.#job;
    for (const [name, database] of moduleDatabases(config, parts, probe(config.dataDir))) {
      const storage = database.open();
      if (!storage.capabilities.shared) continue;
      this.#elsewhere.add(name);
      await this.#start(name, database, storage);
    }
  }

  /** Those on a server, and a bus with a folder of its own, which are not empty because the data directory is. */
  async requireEmpty(): Promise<void> {
    const { config } = this.#job;
    const messages = busDatabase(config);
    if (existsSync(messages) && messages !== busDatabase({ ...config, bus: { ...config.bus, settings: {} } })) throw new BootProblem(`There are messages already: ${messages}. A restore overwrites nothing.`, 'Name another folder in bus.directory, or move what is there away.');
    for (const target of this.all) await target.requireEmpty();
  }

  /** Those that a restore has filled, which came up to its last step. */
  async requireFilled(): Promise<void> {
    await this.openOwn();
    for (const target of this.all) await target.requireFilled();
  }

  /** @throws BootProblem when the rows alone, as text, are more than the disk has room for. */
  async requireRoom(): Promise<void> {
    const { dataDir } = this.#job.config;
    const needed = [...this.#backup.sizes].reduce((sum, [name, characters]) => (this.#elsewhere.has(name) ? sum : sum + characters), 0);
    const { bavail, bsize } = await statfs(dataDir);
    if (bavail * bsize < needed) throw new BootProblem(`The disk of ${dataDir} has ${bavail * bsize} bytes left, and the backup needs about ${needed}.`, 'Make room, or name a folder on another disk with MULTILITH_DATA.');
  }

  async openOwn(): Promise<void> {
    const { config, parts } = this.#job;
    const context = probe(config.dataDir);
    const databases = new Map([...moduleDatabases(config, parts, context), ...(await driverDatabases(config, parts, context))]);
    for (const [name, database] of databases) if (!this.#open.has(name)) await this.#start(name, database, database.open());
  }

  async stop(): Promise<void> {
    for (const { storage } of this.all) await storage.stop(STOP_MS);
  }

  async #start(name: string, { module }: ClosedDatabase, storage: RestoreTarget['storage']): Promise<void> {
    const kept = this.#backup.header.databases.find((one) => one.name === name);
    if (kept === undefined) return;
    const known = module === null ? null : [...fabricMigrations, ...this.#job.parts.modules.find((one) => one.name === module)!.migrations];
    this.#open.set(name, new RestoreTarget(name, storage, known, kept.migrations));
    await storage.start();
  }
}

async function load(file: string, targets: Targets): Promise<void> {
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
      insert = targets.get(part.head.database)?.inserter(part.head);
    }
    await settle();
  } finally {
    await Promise.allSettled(underWay);
  }
}
