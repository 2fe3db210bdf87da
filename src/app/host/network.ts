import type { Contract } from '../../kernel/contract.ts';
import type { DriverContext } from '../../kernel/driver.ts';
import { Fault } from '../../kernel/fault.ts';
import { type Lifecycle, StartStop } from '../../kernel/lifecycle.ts';
import type { ModuleDefinition } from '../../kernel/module.ts';
import { type EdgeStatus, hostDesk } from '../../kernel/system.ts';
import type { Registry } from '../../ports/registry.ts';
import type { Identity, Link, StreamTransport } from '../../ports/transport.ts';
import { busContract } from '../../fabric/bus-contract.ts';
import type { Bus } from '../../ports/bus.ts';
import { Edge } from '../../fabric/edge.ts';
import type { EdgeReading, ReplicasReading } from './edge-metrics.ts';
import { bindRemote } from '../../fabric/remote.ts';
import { Replicas } from '../../fabric/replicas.ts';
import { Caches } from './caches.ts';
import type { Config } from '../config/config.ts';
import { parseListen } from '../config/listen.ts';
import type { Parts } from '../config/parts.ts';
import { hostOfModule, viaBetween, type Via } from '../config/placement.ts';
import { notCallable, registryAway, type Trouble } from './trouble.ts';

export interface NetworkOptions {
  readonly config: Config;
  /** This host. */
  readonly host: string;
  /** Those that run here. */
  readonly modules: readonly ModuleDefinition[];
  readonly identity: Identity;
  readonly registry: Registry;
  readonly transports: Readonly<Record<string, StreamTransport>>;
  readonly parts: Parts;
  readonly context: DriverContext;
}

/** One contract that is called over the network. */
interface Called {
  readonly contract: Contract<any>;
  readonly host: string;
  readonly via: Via;
}

/** One that may be asked how it is doing, or why it cannot be. */
export interface OtherProcess {
  readonly host: string;
  /** Null where no process of the host is known. */
  readonly address: string | null;
  readonly reached: Link | Fault;
}

/** How often it is looked whether the log should say something new of the other hosts. */
const REPORT_MS = 5_000;

/** The other hosts of the topology, as this one calls them. */
export class Network implements Lifecycle {
  readonly #options: NetworkOptions;
  readonly #life: StartStop;
  readonly #called: readonly Called[];
  /** By host and transport. */
  readonly #replicas: ReadonlyMap<string, Replicas>;
  readonly #edges = new Map<string, Edge>();
  readonly #stubs = new Map<string, unknown>();
  readonly #caches: Caches;
  /** Said in the log and not taken back yet. */
  #reported: readonly string[] = [];
  #reporting: NodeJS.Timeout | undefined;
  #unwatch: (() => void) | undefined;
  #warmingUp = false;
  #isListFresh = true;
  readonly #stopping = new AbortController();

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.#called = calledFrom(options);
    this.#replicas = new Map([...groups(this.#called)].map(([key, contracts]) => [key, this.#replicasOf(key, contracts)]));
    this.#caches = new Caches(options);
    this.#life = new StartStop(
      () => this.#start(),
      (deadlineMs) => this.#stop(deadlineMs),
    );
  }

  /** Connects to every host that is called; waits for them a while, and goes on without those that are away. */
  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    this.#stopping.abort();
    return this.#life.stop(deadlineMs);
  }

  /** From now on caches hear of what outdates their answers. */
  watch(bus: Bus): void {
    this.#caches.watch(bus);
  }

  /** The stub of a contract that another host serves; undefined when none does. */
  contract<T>(contract: Contract<T>): T | undefined {
    const called = this.#called.find((one) => one.contract.name === contract.name && !isDesk(one));
    return called && this.#stub(called);
  }

  /** Every other process of the topology, or why it cannot be asked; a host of which none is known has one entry without an address. */
  processes(): OtherProcess[] {
    return this.#called.filter(isDesk).flatMap(({ host, via, contract: { name } }) => {
      const replicas = this.#replicas.get(keyOf(host, via))!;
      const known = replicas.processes(name).map((one): OtherProcess => ({ host, ...one }));
      return known.length > 0 ? known : [{ host, address: null, reached: replicas.choose(name) as Fault }];
    });
  }

  /** What this host is known to lack: hosts that it calls and cannot reach, the registry, caches, each with the reason. */
  problems(): Trouble[] {
    const { driver, settings } = this.#options.config.registry;
    const { servers = [] } = settings as { servers?: readonly string[] };
    return [...this.#notCallable(), ...(this.#isListFresh ? [] : [registryAway(driver, servers)]), ...this.#caches.problems()];
  }

  /** The hosts that a start waits for just now: at first each that is called, then the one that keeps the messages. */
  awaited(): string[] {
    const wanted = this.#called.filter((one) => (this.#warmingUp ? !isDesk(one) : one.contract === (busContract as Contract<any>)));
    return [...new Set(wanted.filter(({ host, via }) => !this.#replicas.get(keyOf(host, via))!.ready).map(({ host }) => host))];
  }

  edges(): EdgeStatus[] {
    return this.#called
      .filter((one) => !isDesk(one))
      .map(({ contract, host, via }) => ({ to: contract.name, host, via, ...this.#edge(contract.name, host).figures(), replicas: this.#replicas.get(keyOf(host, via))!.states(), cache: this.#caches.figures(contract.name) }));
  }

  /** For whoever computes rates itself. */
  edgeTotals(): EdgeReading[] {
    return this.#called.filter((one) => !isDesk(one)).map(({ contract, host, via }) => ({ to: contract.name, host, via, totals: this.#edge(contract.name, host).totals() }));
  }

  /** The connections behind the edges. Several edges may share one. */
  connections(): ReplicasReading[] {
    return [...this.#replicas].map(([key, replicas]) => ({ host: replicas.host, via: key.split(' ')[1]!, replicas: replicas.states() }));
  }

  #notCallable(): Trouble[] {
    return this.#called.flatMap(({ contract, host, via }) => {
      const chosen = this.#replicas.get(keyOf(host, via))!.choose(contract.name);
      return Fault.is(chosen) && !isDesk({ contract }) ? [notCallable(contract.name, host, chosen)] : [];
    });
  }

  #stub<T>({ contract, host, via }: Called): T {
    const key = `${contract.name} ${host}`;
    if (!this.#stubs.has(key)) this.#stubs.set(key, this.#caches.inFrontOf(contract, bindRemote(contract, this.#replicas.get(keyOf(host, via))!, this.#edge(contract.name, host))));
    return this.#stubs.get(key) as T;
  }

  #edge(contract: string, host: string): Edge {
    const key = `${contract} ${host}`;
    const edge = this.#edges.get(key) ?? new Edge();
    this.#edges.set(key, edge);
    return edge;
  }

  #replicasOf(key: string, contracts: readonly Contract<any>[]): Replicas {
    const { config, context: { log }, identity, transports } = this.#options;
    const [host, via] = key.split(' ') as [string, Via];
    const { tls } = config.peers;
    return new Replicas({
      host,
      contracts,
      log: log.child({ peer: host, via }),
      newLink: (address) => transports[via]!.link(identity, { at: parseListen(address)!, ...(tls === undefined ? {} : { tls }) }),
    });
  }

  async #start(): Promise<void> {
    const { registry } = this.#options;
    await this.#caches.start();
    this.#unwatch = registry.watch(({ fresh, announcements }) => {
      this.#isListFresh = fresh;
      for (const replicas of this.#replicas.values()) replicas.update(announcements.filter(({ host }) => host === replicas.host).map(({ address }) => address));
    });
    await this.#warmUp();
  }

  async #warmUp(): Promise<void> {
    this.#warmingUp = true;
    const until = Date.now() + this.#options.config.peers.waitMs;
    for (const replicas of this.#needed()) {
      while (!replicas.ready && Date.now() < until && !this.#stopping.signal.aborted) await changeOf(replicas, until - Date.now(), this.#stopping.signal);
    }
    this.#warmingUp = false;
    if (this.#stopping.signal.aborted) return;
    this.#report();
    this.#reporting = setInterval(() => this.#report(), REPORT_MS).unref();
  }

  /** What is wrong is said once, and once that it is over. */
  #report(): void {
    const { log } = this.#options.context;
    // The registry and the caches say so themselves.
    const problems = this.#notCallable().map(({ detail }) => detail);
    for (const problem of problems) if (!this.#reported.includes(problem)) log.warn({ problem }, 'what another host does for this one cannot be had; this one goes on without');
    if (problems.length === 0 && this.#reported.length > 0) log.info({}, 'everything that other hosts do for this one can be had again');
    this.#reported = problems;
  }

  /** Whoever is only asked how it is doing is not waited for. */
  #needed(): Set<Replicas> {
    return new Set(this.#called.filter((one) => !isDesk(one)).map(({ host, via }) => this.#replicas.get(keyOf(host, via))!));
  }

  async #stop(deadlineMs: number): Promise<void> {
    clearInterval(this.#reporting);
    this.#unwatch?.();
    await this.#caches.stop(deadlineMs);
    await Promise.all([...this.#replicas.values()].map((replicas) => replicas.stop(deadlineMs)));
  }
}

/** Every contract that this host calls on another: its modules', the messages', and each host's desk. */
export function calledFrom({ config, host, modules }: Pick<NetworkOptions, 'config' | 'host' | 'modules'>): Called[] {
  const called = modules.flatMap(({ name, calls }) =>
    calls.flatMap((contract): Called[] => {
      const home = hostOfModule(contract.name, config);
      return home === undefined || home === host ? [] : [{ contract, host: home, via: viaBetween(name, contract.name, config) }];
    }),
  );
  const bus: Called[] = config.bus.host === null || config.bus.host === host ? [] : [{ contract: busContract, host: config.bus.host, via: 'rpc' }];
  const desks = Object.keys(config.hosts).filter((name) => name !== host || config.hosts[name]!.replicas > 1).map((name): Called => ({ contract: hostDesk, host: name, via: 'rpc' }));
  const once = new Map([...called, ...bus, ...desks].map((one) => [`${one.contract.name} ${one.host}`, one]));
  return [...once.values()];
}

/** The contracts by `host via`: each of them is a connection of its own. */
export function groups(called: readonly Called[]): Map<string, Contract<any>[]> {
  const found = new Map<string, Contract<any>[]>();
  for (const { contract, host, via } of called) found.set(keyOf(host, via), [...(found.get(keyOf(host, via)) ?? []), contract]);
  return found;
}

/** Where the topology says that the processes of each host are; not where the system chooses a port. */
export function knownAddresses({ hosts }: Config): { readonly host: string; readonly addresses: readonly string[] }[] {
  return Object.entries(hosts).map(([host, { listen, addresses }]) => ({ host, addresses: (addresses ?? [listen!]).filter((address) => !address.endsWith(':0')) }));
}

function isDesk({ contract }: Pick<Called, 'contract'>): boolean {
  return contract === (hostDesk as Contract<any>);
}

function keyOf(host: string, via: Via): string {
  return `${host} ${via}`;
}

function changeOf(replicas: Replicas, ms: number, stopping: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      unlisten();
      stopping.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    stopping.addEventListener('abort', done, { once: true });
    const unlisten = replicas.patience.onceChanged(done);
  });
}
