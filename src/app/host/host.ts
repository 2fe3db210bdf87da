import type { Server } from 'node:http';
import { systemCall } from '../../kernel/call.ts';
import { systemClock } from '../../kernel/clock.ts';
import type { DriverContext } from '../../kernel/driver.ts';
import { newId } from '../../kernel/ids.ts';
import { type Lifecycle, StartStop, throwAll } from '../../kernel/lifecycle.ts';
import type { Installation, ModuleDefinition } from '../../kernel/module.ts';
import { type HostStatus, type ModuleStatus, STATUS_MS, type System } from '../../kernel/system.ts';
import type { Blobs } from '../../ports/blob.ts';
import type { Bus, QueueSettings } from '../../ports/bus.ts';
import type { Channel } from '../../ports/channel.ts';
import type { Storage } from '../../ports/storage.ts';
import { queueSettings } from '../../fabric/envelope.ts';
import type { Placement } from '../../fabric/placements.ts';
import { hostBackups } from '../backup/host-backups.ts';
import { requireWhole } from '../backup/unfinished.ts';
import type { Config } from '../config/config.ts';
import { keptDays } from '../config/kept-days.ts';
import { urlOf } from '../config/listen.ts';
import type { Parts } from '../config/parts.ts';
import { isAlone, isOnThread } from '../config/placement.ts';
import { workerQueues } from '../config/worker-queues.ts';
import { compose, type Composition } from '../container.ts';
import { controlListener } from '../control/desk.ts';
import { leaveDataDir, takeDataDir } from '../control/socket.ts';
import type { ModuleThreads } from '../thread/module-threads.ts';
import { prepareDataDir } from './data-dir.ts';
import { createBlobs, createChannel } from './drivers.ts';
import { HealthSurface } from './health.ts';
import { HttpServer } from './http-server.ts';
import { inTime } from './in-time.ts';
import { installationSecret } from './installation.ts';
import { KeptBus, readTopologyWith } from './kept-bus.ts';
import { KeptStorages } from './kept-storages.ts';
import { StorageMoves } from './storage-moves.ts';
import type { HostLog } from './log.ts';
import { createMetrics } from './metrics.ts';
import type { Peers } from './peers.ts';
import { fingerprintOf } from './same-installation.ts';
import { SendingHold } from './sending-hold.ts';
import { takenDatabase } from './taken-database.ts';
import { plainly, type Trouble } from './trouble.ts';

/** Of the time that a stop may take, what requests and messages under way get: while they finish, all that they may call is there. */
const FINISHING_SHARE = 0.5;
/** Of the time that a stop may take, what a backup gets that other hosts hold up. */
const BACKUP_SHARE = 0.1;
/** Of the time that a stop may take, what a registry gets that is slow to answer. */
const LEAVING_SHARE = 0.1;
/** Of what is left then, what calls from other hosts and their messages get; the modules get the rest. */
const ANSWERING_SHARE = 0.5;
/** Of what is left then, what modules on threads get: while they finish, the others and the bus must still be there. */
const THREADS_SHARE = 0.5;
/** A bus that is slow to say how it is doing does not hold up what the host says of the rest. */
const INSPECT_MS = 1_000;

/** One process of a topology, from its lock to its web server. */
export class Host implements Lifecycle {
  readonly name: string;
  readonly #process = newId();
  #fingerprint = '';
  readonly #config: Config;
  readonly #parts: Parts;
  /** Those that run on the main thread. */
  readonly #modules: readonly ModuleDefinition[];
  /** Modules of the topology that run on other hosts, or on threads of this one. */
  readonly #elsewhere: readonly ModuleDefinition[];
  readonly #workerQueues: readonly QueueSettings[];
  readonly #log: HostLog;
  readonly #beside: () => readonly string[];
  readonly #life: StartStop;
  readonly #readTopology: ReturnType<typeof readTopologyWith>;
  readonly #health: HealthSurface;
  readonly #http: HttpServer | undefined;
  readonly #metrics = createMetrics();
  #control: Server | undefined;
  #peers: Peers | undefined;
  #bus: Bus | undefined;
  /** Undefined where another host keeps the messages. */
  #keptBus: KeptBus | undefined;
  #threads: ModuleThreads | undefined;
  #sending: SendingHold | undefined;
  /** Open on the main thread. */
  readonly #databases = new Map<string, Storage>();
  readonly #storages: KeptStorages;
  readonly #backup: ReturnType<typeof hostBackups>;
  #channels: ReadonlyMap<string, Channel> = new Map();
  #blobs: Blobs | undefined;
  #composition: Composition | undefined;

  /** `beside`: what is wrong with the servers that its process runs for it, for people, without addresses. */
  constructor(config: Config, name: string, parts: Parts, log: HostLog, beside: () => readonly string[] = () => []) {
    this.name = name;
    this.#beside = beside;
    this.#config = config;
    this.#parts = { ...parts, modules: parts.modules.filter((module) => config.hosts[name]!.modules.includes(module.name)) };
    this.#modules = this.#parts.modules.filter(({ name }) => !isOnThread(name, config));
    this.#readTopology = readTopologyWith(parts, { env: process.env, cwd: process.cwd() });
    const deployed = new Set(Object.values(config.hosts).flatMap(({ modules }) => modules));
    this.#workerQueues = workerQueues(config.bus, parts);
    this.#elsewhere = parts.modules.filter((module) => deployed.has(module.name) && !this.#modules.includes(module));
    this.#log = log;
    this.#storages = new KeptStorages({ config, parts: this.#parts, context: this.#context, readTopology: this.#readTopology });
    this.#backup = hostBackups({ config, host: name, databases: this.#databases, messages: () => this.#keptBus?.kept, live: () => ({ isReady: this.#health.phase === 'ready', isBusMoving: this.#keptBus?.progress != null, isStorageMoving: this.#storages.isMoving }), threads: () => this.#threads?.backupDesks ?? [], others: () => this.#peers?.backupParticipants() ?? [], log });
    this.#health = new HealthSurface(this.#metrics, this.#parts.modules.map((module) => module.name), () => [...(this.#threads?.problems() ?? []), ...this.#problems()].map(({ plain }) => plain));
    this.#http = this.#parts.modules.some(({ http }) => http !== undefined) ? new HttpServer(config.http, log, this.#metrics) : undefined;
    this.#life = new StartStop(
      () => this.#start(),
      (deadlineMs) => this.#stop(deadlineMs),
    );
  }

  /** Resolves when it is ready for traffic. On a failure nothing is left running. */
  async start(): Promise<void> {
    try {
      await this.#life.start();
    } catch (error) {
      await this.stop(this.#config.shutdown.deadlineMs).catch(() => {});
      throw (await takenDatabase(error, { dataDir: this.#config.dataDir, host: this.name, modules: this.#config.hosts[this.name]!.modules })) ?? error;
    }
  }

  stop(deadlineMs: number): Promise<void> {
    if (this.#life.state === 'starting') {
      this.#peers?.abandonStart();
      this.#threads?.abandonStart();
    }
    return this.#life.stop(deadlineMs);
  }

  /** What a browser on this machine opens; where no module shows pages, what probes and other hosts ask. */
  get localUrl(): string {
    return this.#http === undefined ? urlOf(this.#peers!.address!) : urlOf(this.#http.address);
  }

  /** Whether a browser finds anything at `localUrl`. */
  get hasPages(): boolean {
    return this.#http !== undefined;
  }

  /** The hosts that the start waits for just now. */
  get awaited(): readonly string[] {
    return this.#life.state === 'starting' ? (this.#peers?.awaited ?? []) : [];
  }

  /** The ways out of the house that the modules here use. */
  get channels(): { readonly name: string; readonly driver: string }[] {
    if (!this.#parts.modules.some(({ usesChannels }) => usesChannels)) return [];
    return Object.entries(this.#config.channels).map(([name, { driver }]) => ({ name, driver }));
  }

  /** What the modules have to say to whoever started this. */
  async greetings(): Promise<string[]> {
    const lines = await Promise.all(this.#modules.map(async ({ name, greeting }) => (greeting === undefined ? [] : this.#composition!.part(name, greeting).lines())));
    return lines.flat();
  }

  /** First what tells a person that it cannot work: the folder, the lock, the ports. Then what takes time. */
  async #start(): Promise<void> {
    const { dataDir } = this.#config;
    prepareDataDir(dataDir);
    requireWhole(dataDir);
    this.#control = await takeDataDir(dataDir, this.name);
    await this.#storages.enter();
    this.#sending = new SendingHold(dataDir, systemClock);
    const secret = installationSecret(dataDir);
    this.#fingerprint = fingerprintOf(secret);
    if (this.#http !== undefined) {
      this.#http.surfaces = [this.#health];
      await this.#http.start();
    }
    this.#peers = await this.#createPeers();
    if (this.#peers?.remoteBus === undefined) this.#keptBus = new KeptBus({ config: this.#config, host: this.name, parts: this.#parts, context: this.#context, readTopology: this.#readTopology });
    this.#bus = this.#peers?.remoteBus ?? this.#keptBus!.bus;
    this.#channels = this.#createChannels();
    this.#blobs = createBlobs(this.#config.blobs, this.#parts, this.#context);
    this.#threads = await this.#createThreads(this.#bus, secret);
    this.#composition = this.#compose(this.#bus, secret);
    this.#control.on('request', controlListener({ bus: this.#bus, keptBus: this.#keptBus, storages: this.#storageMoves, backups: this.#backup.backups, log: this.#log, status: () => this.#status(), system: () => this.#system.status(systemCall('operator', null, Date.now() + STATUS_MS)), operator: (module, command) => this.#operator(module, command) }));
    this.#metrics.watchEdges({ edges: () => [...(this.#threads?.edgeTotals() ?? []), ...(this.#peers?.edgeTotals() ?? [])], connections: () => this.#peers?.connections() ?? [] });
    await this.#peers?.start({ targets: [...this.#composition.targets, ...(this.#threads?.targets ?? [])], bus: this.#bus, status: () => this.#hostStatus(), backups: this.#backup.desk });
    for (const channel of this.#channels.values()) await channel.start();
    if (this.#modules.some(({ usesBlobs }) => usesBlobs)) await this.#blobs.start();
    await this.#composition.start();
    await this.#threads?.start();
    await this.#storages.noteWhere();
    this.#peers?.busRuns(this.#bus);
    if (this.#peers?.remoteBus === undefined) this.#metrics.watchQueues(this.#bus);
    if (this.#http !== undefined) this.#http.surfaces = [this.#health, ...this.#composition.http];
    this.#health.phase = 'ready';
  }

  async #stop(deadlineMs: number): Promise<void> {
    const until = Date.now() + deadlineMs;
    this.#health.phase = 'stopping';
    this.#sending?.stop();
    const leftMs = () => Math.max(until - Date.now(), 0);
    const problems: unknown[] = [];
    // Each gets its try, whatever became of the one before it.
    const step = async (work: Promise<unknown> | undefined) => void (await work?.catch((error: unknown) => problems.push(error)));
    await step(this.#backup.backups.stop(deadlineMs * BACKUP_SHARE));
    // Before the consumers, who wait for their mails: a server that does not answer must not hold up the stop.
    for (const channel of this.#channels.values()) channel.quiesce?.();
    const finishingMs = deadlineMs * FINISHING_SHARE;
    await Promise.all([step(this.#http?.stop(finishingMs)), step(this.#threads?.drain(finishingMs)), step(this.#composition?.drain(finishingMs))]);
    // Others turn elsewhere; then what has come in from them is answered.
    await step(this.#peers?.leave(deadlineMs * LEAVING_SHARE));
    await step(this.#peers?.stopServing(leftMs() * ANSWERING_SHARE));
    await step(this.#threads?.stop(leftMs() * THREADS_SHARE));
    await step(this.#composition?.stop(leftMs()));
    for (const channel of this.#channels.values()) await step(channel.stop(leftMs()));
    await step(this.#blobs?.stop(leftMs()));
    await step(this.#peers?.stop(leftMs()));
    // Last, since with it the data directory is free for the next process.
    if (this.#control !== undefined) await leaveDataDir(this.#control, this.#config.dataDir, this.name);
    throwAll(problems);
  }

  #createChannels(): ReadonlyMap<string, Channel> {
    if (!this.#modules.some(({ usesChannels }) => usesChannels)) return new Map();
    return new Map(Object.entries(this.#config.channels).map(([name, chosen]) => [name, createChannel(name, chosen, this.#parts, this.#context, this.#keep)]));
  }

  /** Loaded only where there are others: the transports and what they stand on take some 30 MB. */
  async #createPeers(): Promise<Peers | undefined> {
    if (isAlone(this.#config)) return undefined;
    const { Peers } = await import('./peers.ts');
    return new Peers({ config: this.#config, host: this.name, process: this.#process, installation: this.#fingerprint, parts: this.#parts, health: this.#health, context: this.#context });
  }

  /** Loaded only where a module runs on one, for the same reason. */
  async #createThreads(bus: Bus, secret: Uint8Array): Promise<ModuleThreads | undefined> {
    const modules = this.#parts.modules.filter((module) => !this.#modules.includes(module));
    if (modules.length === 0) return undefined;
    const { ModuleThreads } = await import('../thread/module-threads.ts');
    return new ModuleThreads({
      ...this.#context,
      metrics: this.#metrics,
      parts: this.#parts,
      modules,
      entry: this.#parts.thread ?? new URL('../thread/main.js', import.meta.url),
      config: this.#config,
      introduction: { host: this.name, process: this.#process },
      installation: this.#installation(secret),
      stub: (contract) => this.#composition!.contract(contract),
      system: this.#system,
      bus,
    });
  }

  #installation(secret: Uint8Array): Installation {
    const { publicUrl, publicUrlGiven } = this.#config;
    return { publicUrl: publicUrlGiven || this.#http === undefined ? publicUrl : this.localUrl, secret };
  }

  get #system(): System {
    return { status: async (call) => this.#peers?.system(this.#hostStatus(), call) ?? { hosts: [await this.#hostStatus()], unreachable: [] } };
  }

  #compose(bus: Bus, secret: Uint8Array): Composition {
    const config = this.#config;
    return compose({
      modules: this.#modules,
      placementOf: (module) => (config.calls[module]?.via === 'inline-strict' ? 'inline-strict' : 'inline') satisfies Placement,
      elsewhere: (contract) => this.#threads?.contract(contract) ?? this.#peers?.contract(contract),
      clock: systemClock,
      log: this.#log,
      metrics: this.#metrics,
      installation: this.#installation(secret),
      system: this.#system,
      openStorage: (module) => this.#keep(module, () => this.#storages.open(module)),
      bus,
      outbox: config.outbox,
      // An event that comes before its subscriber's host or thread has ever started would be kept by nobody.
      ...((config.bus.host === this.name || config.bus.host === null) && { queuesElsewhere: [...this.#elsewhere.flatMap(({ name, subscriptions }) => subscriptions.map(({ message }) => queueSettings(message, name))), ...this.#workerQueues] }),
      channels: this.#channels,
      blobs: this.#blobs!,
      retention: keptDays(config),
      sending: this.#sending!,
      settings: config.modules,
    });
  }

  get #context(): DriverContext {
    return { clock: systemClock, log: this.#log, metrics: this.#metrics, dataDir: this.#config.dataDir };
  }

  readonly #keep = (name: string, make: () => Storage): Storage => {
    const storage = make();
    this.#databases.set(name, storage);
    return storage;
  };

  get #storageMoves(): StorageMoves {
    return new StorageMoves({ here: this.#storages, onThreads: this.#parts.modules.filter((module) => !this.#modules.includes(module)).map(({ name }) => name), thread: (module) => this.#threads!.storageOf(module) });
  }

  #operator(module: string, command: string) {
    const part = this.#modules.find(({ name }) => name === module)?.operator?.[command];
    return part && this.#composition!.part(module, part);
  }

  /** For the command line on this machine. */
  #status(): object {
    const { topology, dataDir, publicUrl, channels } = this.#config;
    return { pid: process.pid, host: this.name, phase: this.#health.phase, topology, dataDir, url: this.localUrl, publicUrl, modules: this.#parts.modules.map(({ name }) => name), channels: Object.fromEntries(Object.entries(channels).map(([name, { driver }]) => [name, driver])), uptimeSeconds: Math.round(process.uptime()) };
  }

  #ownModules(): ModuleStatus[] {
    const state = ({ starting: 'starting', ready: 'running', stopping: 'stopped' } as const)[this.#health.phase];
    return this.#modules.map(({ name }) => ({ name, placement: 'inline', state, restarts: 0, problem: null }));
  }

  /** What is away that this host calls or uses; said once of a cache that stands in front of threads and of other hosts. */
  #problems(): Trouble[] {
    const bus = this.#bus?.problem;
    const all = [...(this.#threads?.otherProblems() ?? []), ...(this.#peers?.problems() ?? []), ...(bus === undefined ? [] : [plainly(bus)]), ...(this.#composition?.problems ?? []).map(plainly), ...this.#moveProblems(), ...this.#storages.problems, ...(this.#sending?.problems ?? []), ...this.#beside().map(plainly)];
    return [...new Map(all.map((trouble) => [trouble.detail, trouble])).values()];
  }

  #moveProblems(): Trouble[] {
    const { state, to, problem } = this.#keptBus?.progress ?? {};
    return state === 'failed' ? [{ plain: 'Moving the messages to another bus has stopped.', detail: `Moving the messages to another bus (${to}) has stopped: ${problem} Every queue works where it is; "multilith bus move" goes on, with --cancel it turns back.` }] : [];
  }

  /** For the other hosts, and through them for staff. */
  async #hostStatus(): Promise<HostStatus> {
    const keepsQueues = this.#peers?.remoteBus === undefined;
    const states = keepsQueues ? await inTime(() => this.#bus!.inspect(), INSPECT_MS) : undefined;
    return {
      host: this.name,
      process: this.#process,
      address: this.#peers?.announcedAddress ?? null,
      installation: this.#fingerprint,
      phase: this.#health.phase,
      uptimeSeconds: Math.round(process.uptime()),
      memoryMb: Math.round(process.memoryUsage.rss() / 1e6),
      modules: [...this.#ownModules(), ...(this.#threads?.statuses ?? [])],
      edges: [...(this.#threads?.edges ?? []), ...(this.#peers?.edges() ?? [])],
      queues: states?.map(({ name, ready, waiting, inFlight, dead, oldestMs, paused, pausedWorkspaces }) => ({ name, ready: ready.urgent + ready.normal + ready.bulk, waiting, inFlight, dead, oldestMs: oldestMs === null ? null : Math.round(oldestMs), paused, pausedWorkspaces: pausedWorkspaces.length })) ?? null,
      problems: [...this.#problems().map(({ detail }) => detail), ...(keepsQueues && states === undefined ? ['The queues cannot be read just now.'] : [])],
    };
  }
}
