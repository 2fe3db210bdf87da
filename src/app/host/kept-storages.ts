import type { DriverContext } from '../../kernel/driver.ts';
import { Fault } from '../../kernel/fault.ts';
import type { Lifecycle } from '../../kernel/lifecycle.ts';
import type { ReadsOf } from '../../fabric/compared-reads.ts';
import type { LiveMoveLedger } from '../../fabric/live-move-ledger.ts';
import type { LiveMoveProgress } from '../../fabric/live-move-progress.ts';
import { LiveStorageMove } from '../../fabric/live-storage-move.ts';
import { MovableStorage } from '../../fabric/movable-storage.ts';
import { fabricMigrations } from '../../fabric/tables.ts';
import type { Storage } from '../../ports/storage.ts';
import type { Config } from '../config/config.ts';
import type { Parts } from '../config/parts.ts';
import { createStorage } from './drivers.ts';
import type { ReadTopology } from './kept-bus.ts';
import { enterStorage, forgetStorageMove, noteStorageMove, readStorageMove, type StorageMove } from './storage-move-file.ts';
import { noteStoragePlace, requireNothingLeftBehind } from './storage-place.ts';
import type { Trouble } from './trouble.ts';

export interface KeptStoragesOptions {
  readonly config: Config;
  readonly parts: Parts;
  readonly context: DriverContext;
  readonly readTopology: ReadTopology;
}

/** Where the move of a module's data is; null while those before it have their turn. */
export interface ModuleMove {
  readonly module: string;
  readonly progress: LiveMoveProgress | null;
}

/** Until then both sides are needed. */
const UNDER_WAY: ReadonlySet<LiveMoveProgress['state']> = new Set(['copying', 'comparing', 'following', 'switched']);

interface Kept {
  readonly storage: MovableStorage;
  move: LiveStorageMove | undefined;
}

/** The databases of the modules that a process runs, which can be told to take their data elsewhere while they are worked with. */
export class KeptStorages {
  readonly #options: KeptStoragesOptions;
  readonly #kept = new Map<string, Kept>();
  /** Asked for last, in their order. */
  #asked: readonly string[] = [];
  #running: Promise<void> | undefined;

  constructor(options: KeptStoragesOptions) {
    this.#options = options;
  }

  /** Before any is opened. @throws BootProblem when the data of a module is somewhere else than the configuration says. */
  async enter(): Promise<void> {
    const { config, parts, context } = this.#options;
    for (const { name } of parts.modules) {
      const storage = this.#create(name, config);
      const { place } = storage.contents;
      const move = await enterStorage(context.dataDir, name, place);
      if (move === undefined || (move.from !== place && move.to !== place)) await requireNothingLeftBehind(context.dataDir, name, config.storage[name]!.driver, storage);
    }
  }

  /** Once all of them have started with their tables in place: the next start finds them there. */
  async noteWhere(): Promise<void> {
    const { config, parts, context } = this.#options;
    for (const { name } of parts.modules) await noteStoragePlace(context.dataDir, name, { driver: config.storage[name]!.driver, place: this.#create(name, config).contents.place });
  }

  /** A module's database, not started; behind a switch that is not yet finished the new one, with the old one following; the other way round before it. */
  open(module: string): Storage {
    const { config, context } = this.#options;
    const from = this.#create(module, config);
    const record = readStorageMove(context.dataDir, module);
    const to = record === undefined ? undefined : this.#otherOf(module, record);
    if (record === undefined || to === undefined) {
      const storage = new MovableStorage(from);
      if (record !== undefined) storage.accompany(forgetting(from, record.state === 'following' ? ledgerIn(context.dataDir, module, record) : undefined));
      this.#kept.set(module, { storage, move: undefined });
      return storage;
    }
    const storage = new MovableStorage(record.state === 'switched' ? to : from);
    const move = this.#moveOf(module, storage, from, to, record.topology, true);
    storage.accompany(move);
    this.#kept.set(module, { storage, move });
    this.#asked = [...this.#asked, module];
    return storage;
  }

  get progress(): ModuleMove[] {
    return this.#asked.map((module) => ({ module, progress: this.#kept.get(module)?.move?.progress ?? null }));
  }

  /** Moves that do not go on. */
  get problems(): Trouble[] {
    return this.progress.flatMap(({ module, progress }) => (progress?.problem == null ? [] : [{ plain: `Moving the data of ${module} to another storage does not go on.`, detail: `Moving the data of ${module} to another storage (${progress.to}): ${progress.problem}` }]));
  }

  /** A move is under way, or not yet finished or turned back. */
  get isMoving(): boolean {
    return this.#running !== undefined || this.progress.some(({ progress }) => progress !== null && UNDER_WAY.has(progress.state));
  }

  /**
   * Begins to take these modules, one after the other, to the storages of a topology (absolute path), or goes on with that;
   * answers how far all moves are. With `reads` the new storages follow, none counts yet, and such reads are made on both.
   * Faults: `invalid` (a module that is not here, or several processes run it), `conflict` (under way; the same storage;
   * another move; reads that differ).
   */
  move(topology: string, modules: readonly string[], reads?: ReadsOf): ModuleMove[] {
    if (this.#running !== undefined) throw new Fault('conflict', 'A move is under way; let it end first.', { reason: 'move_under_way' });
    const target = this.#options.readTopology(topology);
    const moves = modules.map((module) => ({ module, ...this.#requireMovable(module, target, reads) }));
    const others = this.progress.filter(({ module, progress }) => !modules.includes(module) && progress !== null && UNDER_WAY.has(progress.state));
    this.#asked = [...others.map(({ module }) => module), ...modules];
    for (const { kept } of moves) {
      if (kept.move?.progress.state !== 'following') kept.move = undefined;
      else if (reads !== undefined) kept.move.read(reads);
    }
    this.#running = this.#moveAll(moves, topology, reads).finally(() => (this.#running = undefined));
    return this.progress;
  }

  /** The old storages count again. Faults: `conflict`/`not_switched`, those of the storages. */
  async back(modules: readonly string[]): Promise<ModuleMove[]> {
    for (const module of modules) await this.#moved(module).back();
    return this.progress;
  }

  /** The old storages are let go. Faults: `conflict`/`not_switched`. */
  async finish(modules: readonly string[]): Promise<ModuleMove[]> {
    for (const module of modules) await this.#moved(module).finish();
    return this.progress;
  }

  async #moveAll(moves: readonly { module: string; kept: Kept; to: Storage }[], topology: string, reads: ReadsOf | undefined): Promise<void> {
    for (const { module, kept, to } of moves) {
      const { storage } = kept;
      if (kept.move !== undefined) {
        if (reads !== undefined || (await kept.move.switchOver())) continue;
        return;
      }
      kept.move = this.#moveOf(module, storage, storage.side, to, topology, readStorageMove(this.#options.context.dataDir, module)?.state === 'begun');
      storage.accompany(kept.move);
      if (!(await kept.move.begin(reads))) return;
    }
  }

  /** The new storage of a move that has come so far; undefined where it could only follow, and cannot be opened. */
  #otherOf(module: string, { topology, state }: StorageMove): Storage | undefined {
    if (state !== 'switched' && state !== 'following') return undefined;
    try {
      return this.#create(module, this.#options.readTopology(topology));
    } catch (thrown) {
      if (state === 'switched') throw thrown;
      this.#options.context.log.error({ module, topology, err: thrown }, 'the storage that follows cannot be opened; the data stays where it is, and moving it begins anew');
      return undefined;
    }
  }

  #requireMovable(module: string, target: Pick<Config, 'storage'>, reads: ReadsOf | undefined): { kept: Kept; to: Storage } {
    const { config, context } = this.#options;
    const kept = this.#kept.get(module);
    const host = Object.values(config.hosts).find(({ modules }) => modules.includes(module));
    if (kept === undefined || host === undefined) throw new Fault('invalid', `${module} does not run in this process.`, { reason: 'module_elsewhere' });
    if (host.replicas > 1) throw new Fault('invalid', `${module} runs in ${host.replicas} processes, and each would have to switch at the same moment.`, { reason: 'several_processes', details: { remedy: 'Run one of them (replicas: 1) for the time of the move; or stop all, and move without --live.' } });
    if (kept.move?.progress.state === 'switched') throw new Fault('conflict', `The data of ${module} has been moved already; finish that, or turn it back.`, { reason: 'move_under_way' });
    const [from, to] = [kept.storage.contents.place, this.#create(module, target)];
    if (to.contents.place === from) throw new Fault('conflict', `The data of ${module} lies there already: ${from}.`, { reason: 'same_storage' });
    const record = readStorageMove(context.dataDir, module);
    if (record !== undefined && record.to !== to.contents.place && record.to !== from) throw new Fault('conflict', `The data of ${module} is on its way to ${record.to}; call that off first: multilith storage back.`, { reason: 'other_move' });
    if (kept.move?.progress.state === 'following' && reads === undefined) kept.move.requireAlike();
    return { kept, to };
  }

  #moved(module: string): LiveStorageMove {
    const move = this.#kept.get(module)?.move;
    if (move === undefined) throw new Fault('conflict', `The data of ${module} is not being moved here.`, { reason: 'not_switched' });
    return move;
  }

  #moveOf(module: string, storage: MovableStorage, from: Storage, to: Storage, topology: string, isUnfinished: boolean): LiveStorageMove {
    const { parts, context } = this.#options;
    const definition = parts.modules.find(({ name }) => name === module)!;
    const places = { from: from.contents.place, to: to.contents.place, topology };
    return new LiveStorageMove({ storage, from, to, migrations: [...fabricMigrations, ...definition.migrations], ledger: ledgerIn(context.dataDir, module, places), isUnfinished, log: context.log.child({ module }) });
  }

  #create(module: string, { storage }: Pick<Config, 'storage'>): Storage {
    const { parts, context } = this.#options;
    return createStorage(module, storage[module]!, parts, context);
  }
}

/** A process that was killed in the middle of a move has left what it recorded. */
function forgetting({ contents }: Storage, ledger?: LiveMoveLedger): Lifecycle {
  const start = async () => {
    await ledger?.begin();
    await contents.stopRecording();
  };
  return { start, stop: async () => {} };
}

function ledgerIn(dataDir: string, module: string, { from, to, topology }: Pick<StorageMove, 'from' | 'to' | 'topology'>): LiveMoveLedger {
  const note = (state: StorageMove['state']) => noteStorageMove(dataDir, module, { from, to, topology, state, indexes: [] });
  return {
    begin: () => note('begun'),
    following: () => note('following'),
    switched: () => note('switched'),
    back: () => forgetStorageMove(dataDir, module),
    finish: () => note('used'),
  };
}
