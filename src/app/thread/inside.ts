import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../kernel/clock.ts';
import type { DriverContext } from '../../kernel/driver.ts';
import { newId } from '../../kernel/ids.ts';
import { StartStop } from '../../kernel/lifecycle.ts';
import type { ModuleDefinition } from '../../kernel/module.ts';
import type { EdgeStatus, System } from '../../kernel/system.ts';
import type { Log } from '../../kernel/telemetry.ts';
import type { Blobs } from '../../ports/blob.ts';
import type { Channel } from '../../ports/channel.ts';
import type { Storage } from '../../ports/storage.ts';
import type { Identity } from '../../ports/transport.ts';
import { busContract } from '../../fabric/bus-contract.ts';
import { Edge } from '../../fabric/edge.ts';
import { bindRelayed, bindRemote } from '../../fabric/remote.ts';
import { RemoteBus } from '../../fabric/remote-bus.ts';
import { Replicas } from '../../fabric/replicas.ts';
import { offerOf, Serving } from '../../fabric/serve.ts';
import { Target } from '../../fabric/target.ts';
import { rpcLinkOver, rpcWith } from '../../../adapters/transport/rpc/transport.ts';
import { newStreamEnds, type StreamEnd, ThreadStream } from '../../../adapters/transport/thread/thread-stream.ts';
import { STORAGE_MOVES } from '../backup/databases.ts';
import { backupDesk } from '../backup/desk.ts';
import { OwnDesk } from '../backup/own-desk.ts';
import { keptDays } from '../config/kept-days.ts';
import type { Parts } from '../config/parts.ts';
import { compose, type Composition } from '../container.ts';
import { createBlobs, createChannel, type OnOpen } from '../host/drivers.ts';
import { readTopologyWith } from '../host/kept-bus.ts';
import { KeptStorages } from '../host/kept-storages.ts';
import { SendingHold } from '../host/sending-hold.ts';
import type { EdgeReading } from '../host/edge-metrics.ts';
import { createThreadMetrics } from '../host/metrics.ts';
import { BETWEEN_THREADS } from './between-threads.ts';
import { logTo } from './log-lines.ts';
import type { FromThread, ThreadData, ToThread } from './protocol.ts';
import { Pulse } from './pulse.ts';
import { startProblemOf } from './start-problem.ts';
import { storageTarget } from './storage-access.ts';
import { storageContract } from './storage-contract.ts';
import { systemContract } from './system-contract.ts';

const BEAT_MS = 250;
/** How often the host hears of the calls that the module makes. */
const TELL_EDGES_MS = 1_000;
/** Of the time that a stop may take, what calls under way get to be answered. */
const ANSWERING_SHARE = 0.4;

/** The inside of a thread with one module: the same composition as on the main thread, with the rest of the host behind a port. */
export async function runInThread(parts: Parts): Promise<void> {
  const data = workerData as ThreadData;
  const pulse = new Pulse(data.pulse);
  const beating = setInterval(() => pulse.beat(), BEAT_MS);
  const host = parentPort!;
  const tell = (message: FromThread, transfer: readonly MessagePort[] = []) => host.postMessage(message, transfer);
  const metrics = createThreadMetrics(data.module);
  const log = logTo(tell, data.config.log.level, pulse);
  let telling: NodeJS.Timeout | undefined;
  const end = () => {
    clearInterval(beating);
    clearInterval(telling);
    metrics.stop();
    host.close();
  };
  const take = (module: ThreadModule, message: ToThread) => {
    if (message.kind === 'connection') module.accept(message.end);
    else if (message.kind === 'measure') void metrics.json().then((json) => tell({ kind: 'measured', metrics: json }));
    else if (message.kind === 'drain') void module.drain(message.deadlineMs).then(() => tell({ kind: 'drained' }));
    else void module.stop(message.deadlineMs).then((problem) => tell({ kind: 'stopped', problem })).finally(end);
  };
  let module: ThreadModule | undefined;
  try {
    const made = (module = new ThreadModule(data, parts, { clock: systemClock, log, metrics, dataDir: data.config.dataDir }, tell));
    host.on('message', (message: ToThread) => take(made, message));
    metrics.watchEdges(() => made.edgeTotals());
    telling = setInterval(() => tell({ kind: 'edges', edges: made.edges(), waiting: made.waiting }), TELL_EDGES_MS);
    await made.start();
    tell({ kind: 'started' });
  } catch (error) {
    tell({ kind: 'refused', problem: startProblemOf(error) });
    await module?.stop(0);
    end();
  }
}

/** The module with what it needs: its own storage, its own channels, links to the rest. */
class ThreadModule {
  readonly #context: DriverContext;
  readonly #data: ThreadData;
  readonly #definition: ModuleDefinition;
  readonly #replicas: Replicas;
  /** By contract. */
  readonly #edges = new Map<string, Edge>();
  readonly #bus: RemoteBus;
  readonly #databases = new Map<string, Storage>();
  readonly #channels: ReadonlyMap<string, Channel>;
  readonly #blobs: Blobs;
  readonly #sending: SendingHold;
  readonly #storages: KeptStorages;
  readonly #composition: Composition;
  readonly #server;
  readonly #life: StartStop;

  constructor(data: ThreadData, parts: Parts, context: DriverContext, tell: (message: FromThread, transfer: readonly MessagePort[]) => void) {
    this.#data = data;
    this.#context = context;
    this.#definition = parts.modules.find(({ name }) => name === data.module)!;
    const offers = [this.#definition.contract, backupDesk, storageContract].map(offerOf);
    const identity: Identity = { introduction: { host: data.module, process: newId(), contracts: Object.fromEntries(offers.map(({ name, hash }) => [name, hash])) }, offers, secret: null };
    this.#replicas = new Replicas({
      host: data.host,
      contracts: [...this.#definition.calls, busContract, systemContract],
      newLink: () => rpcLinkOver({ name: 'the main thread', connect: () => newStream(tell) }, identity, BETWEEN_THREADS),
      log: context.log.child({ module: data.module }),
    });
    const { clock, log } = context;
    this.#bus = new RemoteBus({ stub: bindRemote(busContract, this.#replicas, this.#edgeTo(busContract.name)), clock, log });
    this.#channels = this.#definition.usesChannels ? new Map(Object.entries(data.config.channels).map(([name, chosen]) => [name, createChannel(name, chosen, parts, context, this.#keep)])) : new Map();
    this.#blobs = createBlobs(data.config.blobs, parts, context);
    this.#sending = new SendingHold(data.config.dataDir, clock);
    this.#storages = new KeptStorages({ config: data.config, parts: { ...parts, modules: [this.#definition] }, context, readTopology: readTopologyWith(parts, { env: process.env, cwd: process.cwd() }) });
    this.#composition = this.#compose();
    const backups = new Target(backupDesk);
    backups.serve(new OwnDesk({ databases: this.#databases, problem: () => (this.#storages.isMoving ? STORAGE_MOVES : null) }));
    this.#server = rpcWith(BETWEEN_THREADS).serve(identity, new Serving([...this.#composition.targets, backups, storageTarget(this.#storages, data.module)], log as Log));
    this.#life = new StartStop(
      () => this.#start(),
      (deadlineMs) => this.#stop(deadlineMs),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** What does not go in order shows again in the stop. */
  async drain(deadlineMs: number): Promise<void> {
    this.#quiesce();
    await this.#composition.drain(deadlineMs).catch(() => {});
  }

  /** Answers what did not go in order. */
  async stop(deadlineMs: number): Promise<string | null> {
    return this.#life.stop(deadlineMs).then(
      () => null,
      (error: unknown) => {
        this.#context.log.error({ module: this.#data.module, err: error }, 'Not everything stopped in order');
        return error instanceof Error ? error.message : String(error);
      },
    );
  }

  accept(end: StreamEnd): void {
    this.#server.accept(new ThreadStream(end));
  }

  /** What the module calls on the main thread, whoever answers it there. */
  edges(): EdgeStatus[] {
    const replicas = this.#replicas.states();
    return [...this.#edges].map(([to, edge]) => ({ ...this.#place(to), ...edge.figures(), replicas, cache: null }));
  }

  get waiting(): readonly string[] {
    return [...this.#composition.problems, ...this.#storages.problems.map(({ plain }) => plain)];
  }

  edgeTotals(): EdgeReading[] {
    return [...this.#edges].map(([to, edge]) => ({ ...this.#place(to), totals: edge.totals() }));
  }

  /** One for all who call a contract. */
  #edgeTo(contract: string): Edge {
    const edge = this.#edges.get(contract) ?? new Edge();
    this.#edges.set(contract, edge);
    return edge;
  }

  #place(to: string): { from: string; to: string; host: string; via: string } {
    return { from: this.#data.module, to, host: this.#data.host, via: 'thread' };
  }

  async #start(): Promise<void> {
    this.#replicas.update(['main thread']);
    while (!this.#replicas.ready) await new Promise<void>((resolve) => this.#replicas.patience.onceChanged(resolve));
    for (const channel of this.#channels.values()) await channel.start();
    if (this.#definition.usesBlobs) await this.#blobs.start();
    await this.#composition.start();
  }

  async #stop(deadlineMs: number): Promise<void> {
    const until = Date.now() + deadlineMs;
    const leftMs = () => Math.max(until - Date.now(), 0);
    await this.#server.stop(deadlineMs * ANSWERING_SHARE);
    try {
      this.#quiesce();
      await this.#composition.stop(leftMs());
      for (const channel of this.#channels.values()) await channel.stop(leftMs());
      await this.#blobs.stop(leftMs());
    } finally {
      await this.#replicas.stop(leftMs());
    }
  }

  /** Before what waits for its mails: a server that does not answer must not hold up the stop. */
  #quiesce(): void {
    this.#sending.stop();
    for (const channel of this.#channels.values()) channel.quiesce?.();
  }

  readonly #keep: OnOpen = (name, make) => {
    const storage = make();
    this.#databases.set(name, storage);
    return storage;
  };

  #compose(): Composition {
    const { config, installation } = this.#data;
    // Asked for staff, so no call of the module's.
    const access = bindRemote(systemContract, this.#replicas, new Edge());
    const system: System = { status: (call) => access.status({}, call) };
    return compose({
      ...this.#context,
      modules: [this.#definition],
      placementOf: () => 'inline',
      // The main thread calls on, wherever the other module is.
      elsewhere: (contract) => bindRelayed(contract, this.#replicas, this.#edgeTo(contract.name)),
      installation,
      system,
      openStorage: (name) => this.#keep(name, () => this.#storages.open(name)),
      bus: this.#bus,
      outbox: config.outbox,
      channels: this.#channels,
      blobs: this.#blobs,
      retention: keptDays(config),
      sending: this.#sending,
      settings: config.modules,
    });
  }
}

function newStream(tell: (message: FromThread, transfer: readonly MessagePort[]) => void): ThreadStream {
  const [here, there] = newStreamEnds();
  tell({ kind: 'connection', end: there }, [there.port]);
  return new ThreadStream(here);
}
