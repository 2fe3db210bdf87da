import { type Call, systemCall } from '../../kernel/call.ts';
import type { ReadsOf } from '../../fabric/compared-reads.ts';
import type { StorageAccess } from '../thread/storage-contract.ts';
import type { KeptStorages, ModuleMove } from './kept-storages.ts';

const LONGEST_MS = 60_000;

export interface StorageMovesOptions {
  /** Of the modules on the main thread. */
  readonly here: KeptStorages;
  /** Those that run on threads of their own. */
  readonly onThreads: readonly string[];
  /** The thread of one of these. */
  thread(module: string): StorageAccess;
}

/** The moves of all modules of a process, on whichever of its threads they run. Those of threads go at the same time as the others. */
export class StorageMoves {
  readonly #options: StorageMovesOptions;

  constructor(options: StorageMovesOptions) {
    this.#options = options;
  }

  /** Faults: as of `KeptStorages`, `unavailable` when a thread does not answer. */
  async progress(): Promise<ModuleMove[]> {
    const { here, onThreads } = this.#options;
    const others = await this.#ask(onThreads, (thread, call) => thread.look({}, call));
    return [...here.progress, ...others];
  }

  async move(topology: string, modules: readonly string[], reads?: ReadsOf): Promise<ModuleMove[]> {
    const others = await this.#ask(modules, (thread, call) => thread.move({ topology, ...(reads !== undefined && { reads: reads === 'all' ? reads : [...reads] }) }, call));
    const own = this.#here(modules);
    return [...(own.length === 0 ? [] : this.#options.here.move(topology, own, reads)), ...others];
  }

  async back(modules: readonly string[]): Promise<ModuleMove[]> {
    const own = await this.#options.here.back(this.#here(modules));
    return [...own, ...(await this.#ask(modules, (thread, call) => thread.back({}, call)))];
  }

  async finish(modules: readonly string[]): Promise<ModuleMove[]> {
    const own = await this.#options.here.finish(this.#here(modules));
    return [...own, ...(await this.#ask(modules, (thread, call) => thread.finish({}, call)))];
  }

  #here(modules: readonly string[]): string[] {
    return modules.filter((module) => !this.#options.onThreads.includes(module));
  }

  async #ask(modules: readonly string[], ask: (thread: StorageAccess, call: Call) => Promise<{ readonly moves: unknown }>): Promise<ModuleMove[]> {
    const { onThreads, thread } = this.#options;
    const asked = modules.filter((module) => onThreads.includes(module));
    const answers = await Promise.all(asked.map((module) => ask(thread(module), systemCall('operator', null, Date.now() + LONGEST_MS))));
    return answers.flatMap(({ moves }) => moves as ModuleMove[]);
  }
}
