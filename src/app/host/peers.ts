import type { Call } from '../../kernel/call.ts';
import type { Contract } from '../../kernel/contract.ts';
import type { DriverContext } from '../../kernel/driver.ts';
import { Fault, toFault } from '../../kernel/fault.ts';
import { type EdgeStatus, hostDesk, type HostStatus, STATUS_MS, type SystemStatus } from '../../kernel/system.ts';
import type { Bus } from '../../ports/bus.ts';
import type { Registry } from '../../ports/registry.ts';
import type { Identity, Link } from '../../ports/transport.ts';
import { ask } from '../../fabric/ask.ts';
import { stubOf, Target } from '../../fabric/target.ts';
import { busContract } from '../../fabric/bus-contract.ts';
import { BusService } from '../../fabric/bus-service.ts';
import { RemoteBus } from '../../fabric/remote-bus.ts';
import { offerOf, Serving } from '../../fabric/serve.ts';
import { type BackupDesk, backupDesk } from '../backup/desk.ts';
import type { Participant } from '../backup/moment.ts';
import { streamTransports } from '../../../adapters/transport/catalog.ts';
import type { Config } from '../config/config.ts';
import { type ListenAddress, parseListen } from '../config/listen.ts';
import type { Parts } from '../config/parts.ts';
import { createRegistry } from './drivers.ts';
import type { EdgeReading, ReplicasReading } from './edge-metrics.ts';
import type { HealthSurface } from './health.ts';
import { knownAddresses, Network, type OtherProcess } from './network.ts';
import { PeerServer } from './peer-server.ts';
import { SameInstallation } from './same-installation.ts';
import type { Trouble } from './trouble.ts';

export interface PeersOptions {
  readonly config: Config;
  /** This host. */
  readonly host: string;
  readonly process: string;
  /** `fingerprintOf` the installation's secret. */
  readonly installation: string;
  /** With the modules that run here. */
  readonly parts: Parts;
  readonly health: HealthSurface;
  readonly context: DriverContext;
}

const TELL_LOAD_MS = 5_000;

/** What this host lets others call. */
export interface Shown {
  readonly targets: readonly Target[];
  readonly bus: Bus;
  status(): Promise<HostStatus>;
  /** The databases of this process. */
  readonly backups: BackupDesk;
}

/** This process among the others of its topology: what it calls there, what it serves to them, how they find it. */
export class Peers {
  readonly #options: PeersOptions;
  readonly #identity: Identity;
  readonly #registry: Registry;
  readonly #network: Network;
  readonly #same: SameInstallation;
  #server: PeerServer | undefined;
  #serving: Serving | undefined;
  #telling: NodeJS.Timeout | undefined;
  #toldLoad = 0;
  #busService: BusService | undefined;
  readonly #messages = new Target(busContract);
  /** The messages, where another host keeps them. */
  readonly remoteBus: Bus | undefined;

  constructor(options: PeersOptions) {
    const { config, host, process, parts, context } = options;
    this.#options = options;
    const contracts = [...parts.modules.map(({ contract }) => contract as Contract<any>), hostDesk, backupDesk, ...(config.bus.host === host ? [busContract] : [])];
    const offers = contracts.map(offerOf);
    this.#identity = { introduction: { host, process, contracts: Object.fromEntries(offers.map(({ name, hash }) => [name, hash])) }, offers, secret: config.peers.secret ?? null };
    const { replicas } = config.hosts[host]!;
    this.#registry = createRegistry(config.registry, parts, { ...context, hosts: knownAddresses(config), host, replicas });
    this.#network = new Network({ config, host, modules: parts.modules, identity: this.#identity, registry: this.#registry, transports: streamTransports, parts, context });
    this.#same = new SameInstallation({ fingerprint: options.installation, ...(replicas === 1 && { own: { host, process } }), others: async (call) => (await this.#others(call)).flatMap(({ status }) => status ?? []), log: context.log });
    const stub = this.#network.contract(busContract);
    this.remoteBus = stub && new RemoteBus({ stub, clock: context.clock, log: context.log });
  }

  /** The stub of a contract that another host serves. */
  contract<T>(contract: Contract<T>): T | undefined {
    return this.#network.contract(contract);
  }

  /** The hosts that a start waits for just now. */
  get awaited(): readonly string[] {
    return this.#network.awaited();
  }

  /** Where this host is reached, with the port that the system chose when 0 was asked for. */
  get address(): ListenAddress | undefined {
    return this.#server?.address;
  }

  get announcedAddress(): string | undefined {
    const { config, host } = this.#options;
    const { listen, addresses } = config.hosts[host]!;
    const [told = listen] = addresses ?? [];
    return told === undefined || this.#server === undefined ? told : told.replace(/:0$/, `:${this.#server.address.port}`);
  }

  /** Takes calls from now on, though those to modules that have not started find nobody; then connects to the others. */
  async start({ targets, bus, status, backups }: Shown): Promise<void> {
    const { config, host, context, health } = this.#options;
    const { listen } = config.hosts[host]!;
    const desk = new Target(hostDesk);
    desk.serve({ status });
    const databases = new Target(backupDesk);
    databases.serve(backups);
    const served = [...targets, desk, databases];
    if (config.bus.host === host) {
      this.#busService = new BusService({ bus, clock: context.clock, log: context.log });
      served.push(this.#messages);
    }
    const serving = new Serving(served, context.log);
    this.#serving = serving;
    const spoken = Object.values(streamTransports).map((transport) => ({ transport, server: transport.serve(this.#identity, serving, health) }));
    this.#server = new PeerServer(host, parseListen(listen!)!, config.peers.tls, spoken, context.log);
    await this.#server.start();
    await this.#registry.start();
    // Before the others are waited for, who wait for this one: calls to what has not started yet are held back by whoever makes them.
    await this.#announce();
    await this.#network.start();
    await this.#same.start();
    this.#telling = setInterval(() => this.#tellLoad(), TELL_LOAD_MS).unref();
  }

  /** Once the bus runs and all queues are declared: who consumes from here is held back until then, as callers of a module that starts are. */
  busRuns(bus: Bus): void {
    if (this.#busService !== undefined) this.#messages.serve(this.#busService);
    this.#network.watch(bus);
  }

  /** Tells the others to turn elsewhere, as far as the registry is there to be told: a connection that closes tells them too. */
  async leave(deadlineMs: number): Promise<void> {
    clearInterval(this.#telling);
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, deadlineMs);
    await Promise.race([this.#registry.withdraw(), late]).finally(() => clearTimeout(timer));
  }

  /** First who consumes from here, whose outcomes still have to come in and whose questions wait for messages; then all calls. */
  async stopServing(deadlineMs: number): Promise<void> {
    const until = Date.now() + deadlineMs;
    await this.#busService?.stop(deadlineMs / 2);
    // What consumers leave over is for commands under way, which are lost when they are cut off.
    await this.#server?.stop(Math.max(until - Date.now(), 0));
  }

  /** Ends a start that waits for other hosts, which may be away for as long as they like. `stop` is still to come. */
  abandonStart(): void {
    for (const part of [this.#network, this.remoteBus]) part?.stop(0).catch(() => {});
  }

  async stop(deadlineMs: number): Promise<void> {
    clearInterval(this.#telling);
    await this.#same.stop(deadlineMs);
    await this.#network.stop(deadlineMs);
    await this.#registry.stop(deadlineMs);
  }

  /** Hosts that are called from here and cannot be reached, with the reason; the registry and caches that are away. */
  problems(): Trouble[] {
    return [...this.#network.problems(), ...this.#same.problems()];
  }

  edges(): EdgeStatus[] {
    return this.#network.edges();
  }

  edgeTotals(): EdgeReading[] {
    return this.#network.edgeTotals();
  }

  connections(): ReplicasReading[] {
    return this.#network.connections();
  }

  async #announce(): Promise<void> {
    const { host, process } = this.#options;
    await this.#registry.announce({ host, process, address: this.announcedAddress!, contracts: this.#identity.introduction.contracts, load: this.#toldLoad });
  }

  /** A hint for others; the registry sees to it that not every change is written. */
  #tellLoad(): void {
    const load = this.#serving!.underWay;
    if (load === this.#toldLoad) return;
    this.#toldLoad = load;
    this.#announce().catch((err: unknown) => this.#options.context.log.warn({ err }, 'the load could not be announced'));
  }

  /** The other processes of the topology. */
  backupParticipants(): Participant[] {
    return this.#network.processes().flatMap(({ host, address, reached }) => {
      if (!Fault.is(reached) && reached.peer?.process === this.#options.process) return [];
      return [{ name: `host ${host}${address === null ? '' : ` (${address})`}`, desk: Fault.is(reached) ? reached : backupDeskOver(reached) }];
    });
  }

  #others(call: Call): ReturnType<typeof answersOf> {
    return answersOf(this.#network.processes(), call);
  }

  /** Every process's own word, asked at once. */
  async system(own: Promise<HostStatus>, call: Call): Promise<SystemStatus> {
    const answers = await this.#others(call);
    // Where processes of one host find each other by a list, this one may have been asked itself.
    const hosts = new Map([await own, ...answers.flatMap(({ status }) => status ?? [])].map((status) => [status.process, status]));
    return { hosts: [...hosts.values()], unreachable: answers.flatMap(({ host, address, problem }) => (problem === undefined ? [] : [{ host, address, problem }])) };
  }
}

/** Asked once, and no other in its place. */
function backupDeskOver(link: Link): BackupDesk {
  return stubOf(backupDesk, (method, { timeoutMs }) => (request, call) => ask(link, { contract: backupDesk.name, method, request, timeoutMs }, call));
}

/** Of those that cannot be asked, why. */
function answersOf(processes: readonly OtherProcess[], call: Call) {
  return Promise.all(processes.map((one) => answerOf(one, call)));
}

async function answerOf({ host, address, reached }: OtherProcess, call: Call): Promise<{ host: string; address: string | null; status?: HostStatus; problem?: string }> {
  if (Fault.is(reached)) return { host, address, problem: reached.message };
  try {
    return { host, address, status: (await ask(reached, { contract: hostDesk.name, method: 'status', request: {}, timeoutMs: STATUS_MS }, call)) as HostStatus };
  } catch (thrown) {
    const { code, message } = toFault(thrown);
    return { host, address, problem: code === 'deadline' ? `It is connected but has not answered within ${STATUS_MS / 1_000} s.` : message };
  }
}
