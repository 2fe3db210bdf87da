import type { Contract } from '../../kernel/contract.ts';
import { Fault } from '../../kernel/fault.ts';
import { newId } from '../../kernel/ids.ts';
import { type Lifecycle, StartStop } from '../../kernel/lifecycle.ts';
import type { EdgeStatus, ModuleStatus } from '../../kernel/system.ts';
import type { Log } from '../../kernel/telemetry.ts';
import type { Identity } from '../../ports/transport.ts';
import { Edge } from '../../fabric/edge.ts';
import { bindRemote } from '../../fabric/remote.ts';
import { Replicas } from '../../fabric/replicas.ts';
import { rpcLinkOver } from '../../../adapters/transport/rpc/transport.ts';
import { type BackupDesk, backupDesk } from '../backup/desk.ts';
import type { EdgeReading } from '../host/edge-metrics.ts';
import type { Measured } from '../host/metrics.ts';
import { BETWEEN_THREADS } from './between-threads.ts';
import { type ThreadEnd, ThreadLife, type ThreadLimits } from './life.ts';
import { Pauses } from './pauses.ts';
import type { ThreadData } from './protocol.ts';
import type { ServedToThread } from './served-to-thread.ts';
import { type StorageAccess, storageContract } from './storage-contract.ts';

export interface ModuleThreadOptions {
  readonly contract: Contract<any>;
  /** The file that the thread runs. */
  readonly entry: URL;
  readonly data: Omit<ThreadData, 'pulse'>;
  readonly limits: ThreadLimits;
  /** What the module calls, anew for each life of the thread. */
  readonly newServed: () => ServedToThread;
  /** Gets the metrics of a life that is over, as they were last known. */
  readonly bury: (metrics: Measured) => void;
  readonly log: Log;
}

/** The one address of the one replica. */
const ADDRESS = 'thread';

/**
 * A module on a thread of its own, and its supervisor. The first start fails as it would on the main thread; after that
 * a thread that ends, for whatever reason, is started again after a pause, for ever. Calls that were under way are
 * `lost`, new ones wait a while for the next life, within their deadlines.
 */
export class ModuleThread implements Lifecycle {
  readonly #options: ModuleThreadOptions;
  readonly #log: Log;
  readonly #edge = new Edge();
  readonly #replicas: Replicas;
  /** The databases of the thread. */
  readonly backupDesk: BackupDesk;
  /** How the module's data is moved. */
  readonly storage: StorageAccess;
  readonly #pauses = new Pauses();
  readonly #stopping = new AbortController();
  readonly #abandoned = new Promise<void>((resolve) => this.#stopping.signal.addEventListener('abort', () => resolve(), { once: true }));
  readonly #life = new StartStop(
    () => this.#start(),
    (deadlineMs) => this.#stop(deadlineMs),
  );
  #thread: ThreadLife | undefined;
  #supervising: Promise<void> = Promise.resolve();
  #state: ModuleStatus['state'] = 'starting';
  #restarts = 0;
  #problem: string | null = null;
  #known: Measured = [];

  constructor(options: ModuleThreadOptions) {
    this.#options = options;
    const { contract, data, log } = options;
    this.#log = log.child({ module: data.module });
    const identity: Identity = { introduction: { host: data.host, process: newId(), contracts: {} }, offers: [], secret: null };
    const way = { name: `the thread of ${data.module}`, connect: () => this.#thread!.connect() };
    this.#replicas = new Replicas({ host: data.module, contracts: [contract, backupDesk, storageContract], newLink: () => rpcLinkOver(way, identity, BETWEEN_THREADS), log: this.#log });
    this.backupDesk = bindRemote(backupDesk, this.#replicas, new Edge());
    this.storage = bindRemote(storageContract, this.#replicas, new Edge());
  }

  /** Resolves when the module is ready; rejects with why it cannot start. */
  start(): Promise<void> {
    return this.#life.start();
  }

  /** The module takes no more messages and finishes those that it has, while calls go on, both ways. A thread that is not there has none. */
  async drain(deadlineMs: number): Promise<void> {
    await this.#thread?.drain(deadlineMs);
  }

  /** The module finishes what is under way; at the deadline its thread is ended all the same. */
  stop(deadlineMs: number): Promise<void> {
    this.abandonStart();
    return this.#life.stop(deadlineMs);
  }

  /** A start under way fails at once, however long the module would take, and so does one to come. `stop` is still to come. */
  abandonStart(): void {
    if (this.#life.state !== 'idle' && this.#life.state !== 'starting') return;
    this.#stopping.abort(new Error(`The thread of ${this.#options.data.module} was stopped before it was ready.`));
    this.#thread?.kill('it was stopped');
  }

  /** What the other modules of the host call. */
  stub<T>(contract: Contract<T>): T {
    return bindRemote(contract, this.#replicas, this.#edge);
  }

  get status(): ModuleStatus {
    return { name: this.#options.data.module, placement: 'thread', state: this.#state, restarts: this.#restarts, problem: this.#thread?.silence ?? this.#problem };
  }

  get edge(): EdgeStatus {
    const { contract, data } = this.#options;
    return { to: contract.name, host: data.host, via: 'thread', ...this.#edge.figures(), replicas: this.#replicas.states(), cache: null };
  }

  /** What the module calls in this life of its thread. */
  get calls(): readonly EdgeStatus[] {
    return this.#thread?.edges ?? [];
  }

  /** What waits in its database for a bus that takes nothing, for people. */
  get waiting(): readonly string[] {
    return this.#thread?.waiting ?? [];
  }

  get edgeTotals(): EdgeReading {
    const { contract, data } = this.#options;
    return { to: contract.name, host: data.host, via: 'thread', totals: this.#edge.totals() };
  }

  /** Asks the thread for its metrics; when it does not say so in time they stay as they last were. */
  async measure(): Promise<void> {
    const thread = this.#thread;
    const metrics = await thread?.measure();
    if (metrics !== undefined && thread === this.#thread) this.#known = metrics;
  }

  /** Of this life of the thread. */
  get measured(): Measured {
    return this.#known;
  }

  async #start(): Promise<void> {
    const { signal } = this.#stopping;
    signal.throwIfAborted();
    const thread = this.#launch();
    await thread.started;
    this.#supervising = this.#supervise(thread);
    this.#replicas.update([ADDRESS]);
    while (!this.#replicas.ready && !signal.aborted) await Promise.race([this.#abandoned, new Promise<void>((resolve) => this.#replicas.patience.onceChanged(resolve))]);
    signal.throwIfAborted();
  }

  async #stop(deadlineMs: number): Promise<void> {
    this.#stopping.abort();
    // First, so that nothing new is sent to a thread that stops; what is under way is answered.
    const answered = this.#replicas.stop(deadlineMs);
    const problem = (await this.#thread?.stop(deadlineMs)) ?? null;
    await Promise.all([this.#supervising, answered]);
    this.#state = 'stopped';
    if (problem !== null) throw new Error(`The thread of ${this.#options.data.module}: ${problem}.`, { cause: (await this.#thread!.ended).error });
  }

  #launch(): ThreadLife {
    const { entry, data, limits, newServed } = this.#options;
    const thread = new ThreadLife({ entry, data, limits, served: newServed(), log: this.#options.log });
    this.#thread = thread;
    thread.started.then(
      () => {
        this.#state = 'running';
        this.#problem = null;
        if (this.#restarts > 0) this.#log.info({ restarts: this.#restarts }, 'the module runs again on a new thread');
      },
      () => {},
    );
    return thread;
  }

  /** Ends when the module is told to stop. */
  async #supervise(first: ThreadLife): Promise<void> {
    const { signal } = this.#stopping;
    for (let end = await first.ended; ; end = await this.#anotherLife()) {
      this.#bury();
      if (signal.aborted) return;
      await this.#rest(end);
      if (signal.aborted) return;
    }
  }

  /** Ends at once when the system has no thread to give. */
  async #anotherLife(): Promise<ThreadEnd> {
    try {
      return await this.#launch().ended;
    } catch (error) {
      return { reason: 'no thread could be made', error, livedMs: 0 };
    }
  }

  async #rest({ reason, error, livedMs }: ThreadEnd): Promise<void> {
    const pauseMs = this.#pauses.after(livedMs);
    this.#restarts++;
    this.#state = 'restarting';
    this.#problem = `its thread ended: ${reason}`;
    this.#log.error({ reason, restarts: this.#restarts, pauseMs, ...(error !== undefined && { err: Fault.is(error) ? (error.cause ?? error) : error }) }, 'the thread of a module has ended; it is started again');
    await pause(pauseMs, this.#stopping.signal);
  }

  #bury(): void {
    this.#options.bury(this.#known);
    this.#known = [];
  }
}

/** Ends early, without a fuss, when the signal aborts. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
