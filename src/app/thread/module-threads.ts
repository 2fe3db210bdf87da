import type { Contract } from '../../kernel/contract.ts';
import type { DriverContext } from '../../kernel/driver.ts';
import { allTried, type Lifecycle, StartStop } from '../../kernel/lifecycle.ts';
import type { Installation, ModuleDefinition } from '../../kernel/module.ts';
import type { EdgeStatus, ModuleStatus, System } from '../../kernel/system.ts';
import type { Bus } from '../../ports/bus.ts';
import type { Introduction } from '../../ports/transport.ts';
import { Target } from '../../fabric/target.ts';
import type { BackupDesk } from '../backup/desk.ts';
import type { Config } from '../config/config.ts';
import type { Parts } from '../config/parts.ts';
import { Caches } from '../host/caches.ts';
import type { EdgeReading } from '../host/edge-metrics.ts';
import type { HostMetrics } from '../host/metrics.ts';
import { plainly, type Trouble } from '../host/trouble.ts';
import { ModuleThread } from './module-thread.ts';
import { ServedToThread } from './served-to-thread.ts';
import type { StorageAccess } from './storage-contract.ts';

export interface ModuleThreadsOptions extends DriverContext {
  /** Those that run on a thread each. */
  readonly modules: readonly ModuleDefinition[];
  /** The file that each thread runs: one with the same parts as this host. */
  readonly entry: URL;
  readonly config: Config;
  readonly parts: Parts;
  readonly introduction: Pick<Introduction, 'host' | 'process'>;
  readonly installation: Installation;
  /** The stub of a contract that a module on the main thread or another host offers. */
  readonly stub: <T>(contract: Contract<T>) => T;
  readonly bus: Bus;
  readonly system: System;
  readonly metrics: HostMetrics;
}

/** The modules of a host that run on threads of their own. */
export class ModuleThreads implements Lifecycle {
  readonly #options: ModuleThreadsOptions;
  readonly #threads: ReadonlyMap<string, ModuleThread>;
  readonly #caches: Caches;
  /** By contract. */
  readonly #stubs: ReadonlyMap<string, unknown>;
  readonly #life = new StartStop(
    () => this.#start(),
    (deadlineMs) => this.#stop(deadlineMs),
  );

  constructor(options: ModuleThreadsOptions) {
    this.#options = options;
    this.#threads = new Map(options.modules.map((module) => [module.contract.name, this.#threadOf(module)]));
    this.#caches = new Caches({ config: options.config, parts: options.parts, context: options });
    this.#stubs = new Map(options.modules.map(({ contract }) => [contract.name, this.#caches.inFrontOf(contract, this.#threads.get(contract.name)!.stub(contract))]));
    for (const thread of this.#threads.values()) options.metrics.include(thread);
  }

  /** Resolves when all of them are ready; rejects when one cannot start. */
  start(): Promise<void> {
    return this.#life.start();
  }

  /** The modules take no more messages and finish those that they have; calls go on. */
  async drain(deadlineMs: number): Promise<void> {
    await Promise.all([...this.#threads.values()].map((thread) => thread.drain(deadlineMs)));
  }

  stop(deadlineMs: number): Promise<void> {
    if (this.#life.state === 'starting') this.abandonStart();
    return this.#life.stop(deadlineMs);
  }

  /** Ends a start that waits for modules, which may take as long as they like. `stop` is still to come. */
  abandonStart(): void {
    for (const thread of this.#threads.values()) thread.abandonStart();
  }

  /** The stub of a contract that one of these modules offers. */
  contract<T>({ name }: Contract<T>): T | undefined {
    return this.#stubs.get(name) as T | undefined;
  }

  get backupDesks(): BackupDesk[] {
    return [...this.#threads.values()].map(({ backupDesk }) => backupDesk);
  }

  /** By the module's name. */
  storageOf(module: string): StorageAccess {
    const { contract } = this.#options.modules.find(({ name }) => name === module)!;
    return this.#threads.get(contract.name)!.storage;
  }

  /** The modules' contracts, for whoever serves them to others. */
  get targets(): readonly Target[] {
    return this.#options.modules.map(({ contract }) => {
      const target = new Target(contract);
      target.serve(this.contract<object>(contract)!);
      return target;
    });
  }

  get statuses(): ModuleStatus[] {
    return [...this.#threads.values()].map(({ status }) => status);
  }

  /** The calls to these modules, then those that they make. */
  get edges(): EdgeStatus[] {
    const threads = [...this.#threads.values()];
    return [...threads.map(({ edge }) => ({ ...edge, cache: this.#caches.figures(edge.to) })), ...threads.flatMap(({ calls }) => calls)];
  }

  /** For the scrape; what the modules call is among the metrics of their threads. */
  edgeTotals(): EdgeReading[] {
    return [...this.#threads.values()].map(({ edgeTotals }) => edgeTotals);
  }

  /** Modules that do not work just now. */
  problems(): Trouble[] {
    return this.statuses.flatMap(({ name, problem }) => (problem === null ? [] : [plainly(`${name}: ${problem}`)]));
  }

  /** Caches in front of them that are not there, and what waits in their databases for a bus that takes nothing. */
  otherProblems(): Trouble[] {
    return [...this.#caches.problems(), ...[...this.#threads.values()].flatMap(({ waiting }) => waiting.map(plainly))];
  }

  #threadOf({ name, contract, calls }: ModuleDefinition): ModuleThread {
    const { entry, config, introduction, installation, bus, system, metrics, clock, log } = this.#options;
    return new ModuleThread({
      contract,
      entry,
      data: { config, host: introduction.host, module: name, installation: { ...installation, secret: Uint8Array.from(installation.secret) } },
      limits: config.threads,
      newServed: () => new ServedToThread({ introduction, calls, stub: (one) => this.contract(one) ?? this.#options.stub(one), bus, system, clock, log }),
      bury: (last) => metrics.bury(last),
      log,
    });
  }

  async #start(): Promise<void> {
    await Promise.all([this.#caches.start(), ...[...this.#threads.values()].map((thread) => thread.start())]);
    this.#caches.watch(this.#options.bus);
  }

  async #stop(deadlineMs: number): Promise<void> {
    await allTried([...this.#threads.values(), this.#caches].map((part) => part.stop(deadlineMs)));
  }
}
