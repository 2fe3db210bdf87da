import { existsSync } from 'node:fs';
import { migrationsIn } from '../../fabric/storage-tables.ts';
import type { DriverContext } from '../../kernel/driver.ts';
import type { Storage } from '../../ports/storage.ts';
import type { Config } from '../config/config.ts';
import { probe, type Parts } from '../config/parts.ts';
import { isAlone } from '../config/placement.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { busDatabase, createBus, createChannel, createStorage, ownDatabase } from '../host/drivers.ts';
import { requireStorage } from '../host/storage-move-file.ts';
import { BUS } from './format.ts';

const STOP_MS = 10_000;

/** A database of the installation that is not open. */
export interface ClosedDatabase {
  /** Of a module; else a driver's own, whose tables its first start makes. */
  readonly module: string | null;
  /** Not started. */
  open(): Storage;
}

/** Why the messages cannot be backed up while no host runs; undefined when they can. */
export function stoppedProblem({ bus }: Pick<Config, 'bus'>): BootProblem | undefined {
  if (bus.driver === 'embedded') return undefined;
  return new BootProblem(`The messages are kept by ${bus.driver}, and no host runs that could read them.`, 'Start the hosts: a backup is taken while they work.');
}

/** What a running host says of itself. */
export interface LiveHost {
  readonly isReady: boolean;
  /** Also when that is over, until the next start. */
  readonly isBusMoving: boolean;
  readonly isStorageMoving: boolean;
}

/** Why there is no backup meanwhile. */
export const STORAGE_MOVES = 'Data is being moved to another storage: let that end, and finish it or turn it back.';

/** Why it cannot take part in a backup just now, for people; null when it can. */
export function liveProblem({ isReady, isBusMoving, isStorageMoving }: LiveHost): string | null {
  if (isBusMoving) return 'Messages are being moved to another bus, or have been. Let the move end, and start with the new bus.';
  if (isStorageMoving) return STORAGE_MOVES;
  return isReady ? null : 'It is starting or stopping.';
}

/** Those without which a backup is not whole: the modules' own, and that of the messages. */
export function expectedDatabases({ hosts }: Pick<Config, 'hosts'>): string[] {
  return [...Object.values(hosts).flatMap(({ modules }) => modules), BUS];
}

/** Every database of an installation that does not run, by name. Makes those of the drivers where they are missing. */
export async function closedDatabases(config: Config, parts: Parts, context: DriverContext = probe(config.dataDir)): Promise<Map<string, ClosedDatabase>> {
  return new Map([...moduleDatabases(config, parts, context), ...(await driverDatabases(config, parts, context))]);
}

/** Those of the modules. */
export function moduleDatabases(config: Config, parts: Parts, context: DriverContext): Map<string, ClosedDatabase> {
  return new Map(parts.modules.map(({ name }) => [name, { module: name, open: () => moduleStorage(name, config, parts, context) }]));
}

/** Those of the bus and the channels, with their tables. */
export async function driverDatabases(config: Config, parts: Parts, context: DriverContext): Promise<Map<string, ClosedDatabase>> {
  const found = new Map<string, ClosedDatabase>();
  const note = (name: string, make: () => Storage): Storage => {
    found.set(name, { module: null, open: make });
    return make();
  };
  for (const driver of [createBus(config.bus, parts, context, note), ...Object.entries(config.channels).map(([name, chosen]) => createChannel(name, chosen, parts, context, note))]) {
    try {
      await driver.start();
    } finally {
      await driver.stop(STOP_MS);
    }
  }
  return found;
}

/** @throws BootProblem when the module's data has been moved elsewhere. */
function moduleStorage(name: string, config: Config, parts: Parts, context: DriverContext): Storage {
  const storage = createStorage(name, config.storage[name]!, parts, context);
  requireStorage(config.dataDir, name, storage.contents.place);
  return storage;
}

/** Of a module's database that has started. @throws BootProblem when no host has ever worked with it. */
export async function requireUsed(name: string, storage: Storage): Promise<void> {
  const snapshot = await storage.snapshot();
  const migrations = await migrationsIn(snapshot).finally(() => snapshot.close());
  if (migrations.length === 0) throw new BootProblem(`There is nothing in the database of ${name} (${storage.contents.place}).`, 'Name the topology that the hosts have run with (--topology), and their data directory (MULTILITH_DATA).');
}

/** @throws BootProblem when something of the installation lies elsewhere, or in databases that others may be writing to. */
export function requireAllHere(config: Config, parts: Parts): void {
  const { dataDir } = config;
  const files = parts.modules.flatMap(({ name }) => (config.storage[name]!.driver === 'sqlite' ? [ownDatabase(dataDir, name)] : []));
  const missing = [...files, busDatabase(config)].find((file) => !existsSync(file));
  if (missing !== undefined) throw new BootProblem(`${missing} is not there.`, 'Run this where all databases lie, with the topology that they belong to.');
  if (!isAlone(config) && files.length < parts.modules.length) throw new BootProblem('Hosts elsewhere may be writing to the databases of this topology.', 'Stop all of them, and name a topology that has one host.');
}
