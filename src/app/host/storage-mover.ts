import { existsSync } from 'node:fs';
import type { DriverContext } from '../../kernel/driver.ts';
import { Fault } from '../../kernel/fault.ts';
import type { ModuleDefinition } from '../../kernel/module.ts';
import type { Migration, Storage } from '../../ports/storage.ts';
import { compareContents, type TableComparison } from '../../fabric/storage-compare.ts';
import { clear, copyContents, dropIndexes, requireFree, type TableProgress } from '../../fabric/storage-copy.ts';
import { requireMigrated } from '../../fabric/storage-tables.ts';
import { fabricMigrations } from '../../fabric/tables.ts';
import type { Config } from '../config/config.ts';
import type { Parts } from '../config/parts.ts';
import { createStorage, ownDatabase } from './drivers.ts';
import { KeptStorages } from './kept-storages.ts';
import { forgetStorageMove, noteStorageMove, readStorageMove, type StorageMove } from './storage-move-file.ts';

const STOP_MS = 10_000;
/** A copy on SQLite takes no more than its source, and some for the log that is written ahead. */
const SPARE_FACTOR = 1.2;

export interface StorageMoveProgress extends TableProgress {
  readonly module: string;
  readonly step: 'copying' | 'comparing';
}

/** How one module came out. */
export interface ModuleComparison {
  readonly module: string;
  readonly from: string;
  readonly to: string;
  readonly tables: readonly TableComparison[];
  readonly isSame: boolean;
}

export interface StorageMoverOptions {
  /** The configuration that the module has run with, and the one whose storage its data goes to. */
  readonly config: Config;
  readonly target: Config;
  /** The file that `target` was read from, absolute. */
  readonly topology: string;
  readonly parts: Parts;
  readonly context: DriverContext;
  readonly tell: (progress: StorageMoveProgress) => void;
}

/** The modules whose data lies elsewhere by the other configuration. */
export function modulesToMove({ config, target, parts, context }: Omit<StorageMoverOptions, 'topology' | 'tell'>): string[] {
  const placeBy = (by: Config, module: string) => createStorage(module, by.storage[module]!, parts, context).contents.place;
  return parts.modules.map(({ name }) => name).filter((name) => placeBy(config, name) !== placeBy(target, name));
}

/** Takes the data of one module to another storage, while no host works with it. */
export class StorageMover {
  readonly #options: StorageMoverOptions;
  readonly #module: ModuleDefinition;
  readonly #from: Storage;
  readonly #to: Storage;

  /** Opens nothing. */
  constructor(module: string, options: StorageMoverOptions) {
    const { config, target, parts, context } = options;
    this.#options = options;
    this.#module = parts.modules.find(({ name }) => name === module)!;
    this.#from = createStorage(module, config.storage[module]!, parts, context);
    this.#to = createStorage(module, target.storage[module]!, parts, context);
  }

  /**
   * Copies what is not there yet, compares, and if all is the same makes the new storage the one that counts. Again does
   * the same, until a host has worked with the new one.
   * Faults: `conflict` (`same_storage`, `storage_used`, `storage_busy`, `other_move`, `target_not_empty`, `schema_differs`),
   * `not_found` (`no_data`), `exhausted` (`disk_full`), those of the storages.
   */
  move(): Promise<ModuleComparison> {
    return this.#withBoth(async () => {
      const { state, indexes } = await this.#begin();
      if (state === 'copying') {
        await dropIndexes(this.#to, indexes);
        await copyContents(this.#from, this.#to, (progress) => this.#tell('copying', progress));
        for (const index of indexes) await this.#to.contents.makeIndex(index);
      }
      const compared = await this.#compare();
      // A copy that somebody has changed counts no more, and what is left of it is made anew.
      await this.#note(compared.isSame ? 'moved' : 'begun');
      return compared;
    });
  }

  /** Compares, and changes nothing. */
  compare(): Promise<ModuleComparison> {
    return this.#withBoth(() => this.#compare());
  }

  /**
   * Has the old storage count again, with what it lacks after a live move carried over; the new one is left as it is.
   * Twice does nothing. Faults: `conflict`/`storage_used`, those of the storages.
   */
  async back(): Promise<void> {
    const move = this.#record();
    if (move?.state === 'switched') return this.#afterLive((kept) => kept.back([this.#module.name]));
    if (move?.state === 'begun' || move?.state === 'following') await this.#stopRecording();
    if (move !== undefined) await forgetStorageMove(this.#dataDir, this.#module.name);
  }

  /** Lets the old storage go after a live move. Twice does nothing. Faults: `conflict`/`not_switched`, those of the storages. */
  async finish(): Promise<void> {
    const move = readStorageMove(this.#dataDir, this.#module.name);
    if (move?.state === 'used') return;
    if (move?.state !== 'switched') throw new Fault('conflict', `There is nothing to finish for ${this.#module.name}.`, { reason: 'not_switched' });
    await this.#afterLive((kept) => kept.finish([this.#module.name]));
  }

  /** What a host that was killed in the middle of a live move has left on. */
  async #stopRecording(): Promise<void> {
    this.#requireThere();
    await this.#from.start();
    await this.#from.contents.stopRecording().finally(() => this.#from.stop(STOP_MS));
  }

  async #afterLive(work: (kept: KeptStorages) => Promise<unknown>): Promise<void> {
    const { target } = this.#options;
    const kept = new KeptStorages({ ...this.#options, readTopology: () => target });
    const storage = kept.open(this.#module.name);
    await storage.start();
    await work(kept).finally(() => storage.stop(STOP_MS));
  }

  get #dataDir(): string {
    return this.#options.context.dataDir;
  }

  get #migrations(): readonly Migration[] {
    return [...fabricMigrations, ...this.#module.migrations];
  }

  async #begin(): Promise<StorageMove> {
    await requireMigrated(this.#from, this.#migrations);
    const record = this.#record();
    if (record?.state === 'switched' || record?.state === 'following') throw new Fault('conflict', `The data of ${this.#module.name} is being moved while a host works, and that is not finished.`, { reason: 'move_under_way', details: { remedy: record.state === 'switched' ? `Finish it, or turn it back: multilith storage finish|back --to ${this.#options.topology}` : `Start the host and go on with --live, or turn back: multilith storage back --to ${this.#options.topology}` } });
    if (record !== undefined && record.state !== 'begun') return record;
    if (record === undefined) await requireFree(this.#to, this.#migrations);
    await this.#requireSpace();
    await this.#note('begun');
    await this.#to.migrate(this.#migrations);
    // Migrations may put rows into new tables; the old storage has its own.
    await clear(this.#to);
    return this.#note('copying', await this.#to.contents.indexes());
  }

  /** What is known of this very move. */
  #record(): StorageMove | undefined {
    const [from, to] = [this.#from.contents.place, this.#to.contents.place];
    const record = readStorageMove(this.#dataDir, this.#module.name);
    if (record === undefined || (record.from === from && record.to === to)) return record === undefined ? undefined : this.#requireUnused(record);
    // The last move is long over, and this one begins where it ended.
    if (record.to === from && (record.state === 'moved' || record.state === 'used')) return undefined;
    throw new Fault('conflict', `The data of ${this.#module.name} is in ${record.state === 'moved' || record.state === 'used' ? record.to : record.from}${record.state === 'used' ? '' : `, and on its way to ${record.to}`}.`, { reason: 'other_move', details: { remedy: `Name the topologies of that move, or call it off: multilith storage back --module ${this.#module.name} --to ${record.topology}` } });
  }

  #requireUnused(move: StorageMove): StorageMove {
    if (move.state !== 'used') return move;
    throw new Fault('conflict', `A host has worked with the data of ${this.#module.name} in ${move.to}; the old storage lacks what came in since.`, { reason: 'storage_used', details: { remedy: `Start with --topology ${move.topology}. To go back, take the data back: multilith storage move --topology ${move.topology} --to <the topology from before>` } });
  }

  async #note(state: StorageMove['state'], indexes: StorageMove['indexes'] = []): Promise<StorageMove> {
    const move: StorageMove = { from: this.#from.contents.place, to: this.#to.contents.place, topology: this.#options.topology, state, indexes };
    await noteStorageMove(this.#dataDir, this.#module.name, move);
    return move;
  }

  async #compare(): Promise<ModuleComparison> {
    await requireMigrated(this.#to, this.#migrations);
    const tables = await compareContents(this.#from, this.#to, (progress) => this.#tell('comparing', progress));
    return { module: this.#module.name, from: this.#from.contents.place, to: this.#to.contents.place, tables, isSame: tables.every(({ isSame }) => isSame) };
  }

  async #requireSpace(): Promise<void> {
    const [needed, free] = [Math.ceil((await this.#from.contents.bytes()) * SPARE_FACTOR), await this.#to.contents.freeBytes()];
    if (free !== null && free < needed) throw new Fault('exhausted', `The disk of the new storage has ${free} bytes left; the copy of ${this.#module.name} takes about ${needed}.`, { reason: 'disk_full', details: { remedy: 'Free some space, or name another disk.' } });
  }

  #tell(step: StorageMoveProgress['step'], progress: TableProgress): void {
    this.#options.tell({ module: this.#module.name, step, ...progress });
  }

  async #withBoth<T>(work: () => Promise<T>): Promise<T> {
    const [from, to] = [this.#from, this.#to];
    if (from.contents.place === to.contents.place) throw new Fault('conflict', `The data of ${this.#module.name} lies there already: ${to.contents.place}.`, { reason: 'same_storage' });
    this.#requireThere();
    try {
      await from.start();
      await to.start();
      for (const { contents } of [from, to]) {
        if ((await contents.othersConnected()) > 0) throw new Fault('conflict', `Another process works with ${contents.place}.`, { reason: 'storage_busy', details: { remedy: 'Stop every host that runs the module, on whatever machine.' } });
      }
      return await work();
    } finally {
      await Promise.all([from.stop(STOP_MS), to.stop(STOP_MS)]);
    }
  }

  /** Opening a database of SQLite would make it. */
  #requireThere(): void {
    const { name } = this.#module;
    const path = ownDatabase(this.#dataDir, name);
    if (this.#options.config.storage[name]!.driver !== 'sqlite' || existsSync(path)) return;
    throw new Fault('not_found', `There is no database of ${name}: ${path}.`, { reason: 'no_data', details: { remedy: 'Run this where the module runs, with its data directory (MULTILITH_DATA) and the topology that it has run with (--topology).' } });
  }
}
