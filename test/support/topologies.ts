import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Multilith, type MultilithOptions } from './multilith.ts';
import { freePort } from './server-process.ts';
import { TcpProxy } from './tcp-proxy.ts';

/** Which modules share a process, and how they reach each other. The first host keeps the messages. */
export interface Layout {
  readonly hosts: Readonly<Record<string, readonly string[]>>;
  readonly calls?: Readonly<Record<string, object>>;
  /** How many processes run a host, where it is not one: `mailer` and `mailer/2`, with data and addresses of their own. */
  readonly replicas?: Readonly<Record<string, number>>;
  /** Other sections of the topology. */
  readonly settings?: Readonly<Record<string, object>>;
}

const apart = { web: ['portal'], rules: ['trigger'], mailer: ['notification'] };
const everywhere = (rule: object) => ({ portal: rule, trigger: rule, notification: rule });

/** Every way to lay the modules out that must make no difference. */
export const layouts = {
  'one process': { hosts: { app: ['portal', 'trigger', 'notification'] } },
  'notification on a thread': { hosts: { app: ['portal', 'trigger', 'notification'] }, calls: { notification: { via: 'thread' } } },
  'trigger and notification on a thread each': { hosts: { app: ['portal', 'trigger', 'notification'] }, calls: { trigger: { via: 'thread' }, notification: { via: 'thread' } } },
  'notification over rpc': { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] } },
  'trigger over rpc': { hosts: { app: ['portal', 'notification'], rules: ['trigger'] } },
  'trigger and notification together over rpc': { hosts: { web: ['portal'], work: ['trigger', 'notification'] } },
  'each module on its own host over rpc': { hosts: apart },
  'each module on its own host over http': { hosts: apart, calls: everywhere({ via: 'http' }) },
  'notification over rpc with caches': { hosts: { app: ['portal', 'trigger'], mailer: ['notification'] }, calls: { portal: { cache: { entries: 1_000 } }, notification: { cache: { entries: 1_000 } } } },
} as const satisfies Record<string, Layout>;
/** With storages and a bus that processes can share. */
export const twoOfEach: Layout = { hosts: apart, replicas: { web: 2, rules: 2, mailer: 2 } };

export type LayoutName = keyof typeof layouts;

export interface SystemOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Default: a new folder, removed by `dispose`. */
  readonly dataDir?: string;
  /** Puts a proxy in front of every host, through which the others reach it. */
  readonly proxied?: boolean;
  /** Hosts listen at any port that is free, so that only a registry knows where they are. */
  readonly anyPort?: boolean;
  /** A server that the system stands on; removed after it. */
  readonly below?: { remove(): Promise<void> };
}

/** What one start of a host does differently. */
export type HostOptions = Pick<MultilithOptions, 'env' | 'main'>;

/** Where a host takes calls, and where the others are told that it does. */
interface Place {
  readonly port: number;
  readonly proxy: TcpProxy | undefined;
}

/** All processes of a topology, each a real `multilith start`, on ports and with data that they keep over restarts. */
export class TestSystem {
  readonly dataDir: string;
  /** The portal's: where people and programs reach the system. */
  readonly url: string;
  readonly topology: string;
  readonly #layout: Layout;
  readonly #places: ReadonlyMap<string, Place>;
  readonly #options: SystemOptions;
  readonly #folder: string;
  readonly #running = new Map<string, Multilith>();
  readonly #ended: Multilith[] = [];

  private constructor(layout: Layout, places: ReadonlyMap<string, Place>, httpPort: number, options: SystemOptions) {
    this.#layout = layout;
    this.#places = places;
    this.#options = options;
    this.#folder = mkdtempSync(join(tmpdir(), 'multilith-'));
    this.dataDir = options.dataDir ?? join(this.#folder, 'data');
    this.url = `http://127.0.0.1:${httpPort}`;
    this.topology = join(this.#folder, 'topology.yaml');
    writeFileSync(this.topology, topologyOf(layout, places, httpPort, this.dataDir, options));
    if (layout.replicas !== undefined) this.#shareInstallation();
  }

  /** Resolves when every host is ready; rejects with what the one printed that is not. */
  static async start(layout: Layout, options: SystemOptions = {}): Promise<TestSystem> {
    const system = await TestSystem.prepare(layout, options);
    try {
      // At once, since each waits for the others a while.
      await Promise.all(system.processes.map((name) => system.startHost(name)));
      return system;
    } catch (error) {
      await system.dispose();
      throw error;
    }
  }

  /** With nothing running yet. */
  static async prepare(layout: Layout, options: SystemOptions = {}): Promise<TestSystem> {
    const places = new Map<string, Place>();
    for (const name of processesOf(layout)) {
      const port = await freePort();
      places.set(name, { port, proxy: options.proxied === true ? await TcpProxy.start(port) : undefined });
    }
    return new TestSystem(layout, places, await freePort(), options);
  }

  get hosts(): string[] {
    return Object.keys(this.#layout.hosts);
  }

  /** The hosts, and behind them the second processes of those that have several. */
  get processes(): string[] {
    return processesOf(this.#layout);
  }

  /** The host that runs a module. */
  hostOf(module: string): string {
    return this.hosts.find((host) => this.#layout.hosts[host]!.includes(module))!;
  }

  /** The process of a host as it was started last; a host that never started is a mistake of the test. */
  host(name: string): Multilith {
    return this.#running.get(name)!;
  }

  /** Through which the others reach a host. */
  proxy(host: string): TcpProxy {
    return this.#places.get(host)!.proxy!;
  }

  /** Where a host takes calls itself. */
  port(host: string): number {
    return this.#places.get(host)!.port;
  }

  /** Resolves when it is ready. */
  async startHost(name: string, options: HostOptions = {}): Promise<Multilith> {
    const host = this.launchHost(name, options);
    await host.untilReady();
    return host;
  }

  /** At once, with its start under way. */
  launchHost(name: string, { env, ...options }: HostOptions = {}): Multilith {
    const before = this.#running.get(name);
    if (before !== undefined) this.#ended.push(before);
    const [host, nth] = name.split('/') as [string, string?];
    const isFirst = nth === undefined;
    const process = Multilith.launch({
      ...options,
      dataDir: this.#dataDirOf(name),
      args: ['--topology', this.topology, '--host', host, ...(isFirst ? [] : ['--set', `hosts.${host}.listen=127.0.0.1:${this.port(name)}`])],
      env: { ...this.#options.env, ...(isFirst && { MULTILITH_HTTP_LISTEN: new URL(this.url).host }), ...env },
    });
    this.#running.set(name, process);
    return process;
  }

  /** Resolves when every host says that it reaches all others. */
  async healed(deadlineMs = 60_000): Promise<void> {
    for (const end = Date.now() + deadlineMs; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
      const problems = (await Promise.all([...this.#running.values()].map(problemsOf))).flat();
      if (problems.length === 0) return;
      if (Date.now() > end) throw new Error(`The hosts have not found each other again within ${deadlineMs} ms: ${problems.join('; ')}\n${this.output.slice(-10_000)}`);
    }
  }

  /** Stops all hosts in order and at once, as an operator does; answers their exit codes. */
  stop(): Promise<(number | null)[]> {
    return Promise.all([...this.#running.values()].map((host) => host.stop()));
  }

  /** All that was printed, by all hosts and those that have ended. */
  get output(): string {
    return [...this.#ended, ...this.#running.values()].map(({ output }) => output).join('');
  }

  #dataDirOf(process: string): string {
    return process.includes('/') ? `${this.dataDir}-${process.replace('/', '-')}` : this.dataDir;
  }

  /** As an operator copies it, who starts a second process. */
  #shareInstallation(): void {
    const text = JSON.stringify({ secret: randomBytes(32).toString('base64url') });
    for (const name of this.processes) {
      mkdirSync(this.#dataDirOf(name), { recursive: true, mode: 0o700 });
      writeFileSync(join(this.#dataDirOf(name), 'installation.json'), text, { mode: 0o600 });
    }
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#running.values()].map((host) => host.kill()));
    for (const { proxy } of this.#places.values()) await proxy?.stop();
    await this.#options.below?.remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function processesOf({ hosts, replicas = {} }: Layout): string[] {
  return [...Object.keys(hosts), ...Object.entries(replicas).flatMap(([host, count]) => Array.from({ length: count - 1 }, (_, i) => `${host}/${i + 2}`))];
}

async function problemsOf({ url }: Multilith): Promise<string[]> {
  const answer = (await (await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(5_000) })).json()) as { ready: boolean; phase: string; problems: string[] };
  return answer.ready ? answer.problems : [`${url} is ${answer.phase}`];
}

/** JSON, which is YAML too. */
function topologyOf(layout: Layout, places: ReadonlyMap<string, Place>, httpPort: number, data: string, { anyPort = false }: SystemOptions): string {
  const { hosts, calls = {}, settings = {}, replicas = {} } = layout;
  const names = Object.keys(hosts);
  const reached = (host: string) => {
    const own = [...places].filter(([name]) => name.split('/')[0] === host).map(([, place]) => place);
    const addresses = own.map(({ port, proxy }) => `127.0.0.1:${proxy?.port ?? port}`);
    const isPlain = own.length === 1 && own[0]!.proxy === undefined;
    return { listen: `127.0.0.1:${anyPort ? 0 : own[0]!.port}`, ...(!isPlain && { addresses }), replicas: replicas[host] ?? 1 };
  };
  return JSON.stringify({
    data,
    http: { listen: `127.0.0.1:${httpPort}` },
    ...(layout.replicas !== undefined && { publicUrl: `http://127.0.0.1:${httpPort}` }),
    hosts: Object.fromEntries(names.map((host) => [host, { modules: hosts[host], ...(names.length > 1 && reached(host)) }])),
    calls,
    ...(names.length > 1 && { bus: { driver: 'embedded', host: names[0] } }),
    ...settings,
  });
}
