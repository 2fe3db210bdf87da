import { accessSync, constants, existsSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join, resolve } from 'node:path';
import type { ActiveMqSettings } from '../../../adapters/bus/activemq/driver.ts';
import { type PostgresSettings, withAbsoluteFile } from '../../../adapters/storage/postgres/driver.ts';
import type { ZooKeeperSettings } from '../../../adapters/registry/zookeeper/driver.ts';
import { StartStop, type Lifecycle } from '../../kernel/lifecycle.ts';
import type { Log } from '../../kernel/telemetry.ts';
import type { Config } from '../config/config.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { prepareDataDir } from '../host/data-dir.ts';
import { BROKER_NEEDS, brokerOf, type Needed } from './broker.ts';
import { LocalServer, type ServerProgram } from './local-server.ts';
import { postgresNeeds, postgresServer, type Tenant } from './postgres-server.ts';
import { serverPassword } from './server-password.ts';
import { ZOOKEEPER_NEEDS, zooKeeperServer } from './zookeeper-server.ts';

const LOOPBACK = new Set(['127.0.0.1', 'localhost']);
const JAVA: Needed = { package: 'default-jre-headless', file: 'java' };

/** A server that a topology names at an address of this machine. */
interface Wanted {
  readonly name: string;
  readonly port: number;
  /** What chooses another port. */
  readonly setting: string;
  readonly needs: readonly Needed[];
  /** Makes its files. */
  program(): ServerProgram;
}

/**
 * The servers that a topology names on loopback, each with its data in the data directory: an ActiveMQ broker for the
 * bus, ZooKeeper for the registry, PostgreSQL for storages whose password lies in a file. `start` resolves when all serve, and rejects with a BootProblem where a topology names
 * none, a package is missing, a port is taken or a server does not come up.
 */
export class LocalServers implements Lifecycle {
  readonly #config: Config;
  readonly #log: Log;
  readonly #servers: LocalServer[] = [];
  #over = false;
  readonly #life = new StartStop(
    () => this.#start(),
    () => {},
  );

  constructor(config: Config, log: Log) {
    this.#config = config;
    this.#log = log;
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** Each with its address. */
  get names(): readonly string[] {
    return wantedBy(this.#config).map(({ name, port }) => `${name} at 127.0.0.1:${port}`);
  }

  /** What is wrong with them just now, for people, without addresses. */
  get problems(): readonly string[] {
    return this.#servers.flatMap(({ problem }) => (problem === undefined ? [] : [problem]));
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#over = true;
    await Promise.all(this.#servers.map((server) => server.stop(deadlineMs)));
    await this.#life.stop(deadlineMs);
  }

  async #start(): Promise<void> {
    const wanted = wantedBy(this.#config);
    if (wanted.length === 0) throw new BootProblem(`The topology ${this.#config.topology} names no server on this machine.`, 'Those that can be started are an ActiveMQ bus, a ZooKeeper registry and PostgreSQL for storages with a passwordFile, on 127.0.0.1, as in --topology single-server.');
    requirePackages([...wanted.flatMap(({ needs }) => needs)]);
    for (const one of wanted) await requireFree(one);
    if (this.#over) return;
    prepareDataDir(this.#config.dataDir);
    this.#servers.push(...wanted.map((one) => new LocalServer(one.program(), this.#log)));
    await Promise.all(this.#servers.map((server) => server.start()));
    if (!this.#over) this.#log.info({ servers: this.names }, 'The servers of this machine serve');
  }
}

function wantedBy({ bus, registry, storage, dataDir }: Config): Wanted[] {
  return [...brokerIn(bus, dataDir), ...zooKeeperIn(registry, dataDir), ...postgresIn(storage, dataDir)];
}

function brokerIn(bus: Config['bus'], dataDir: string): Wanted[] {
  if (bus.driver !== 'activemq') return [];
  const settings = bus.settings as ActiveMqSettings;
  // The shipped broker speaks plain STOMP.
  if (!LOOPBACK.has(settings.host) || settings.tls) return [];
  const { port, username, password, passwordFile } = settings;
  const user = () => {
    const known = password ?? (passwordFile === undefined ? undefined : serverPassword(resolve(dataDir, passwordFile)));
    return username === undefined || known === undefined ? undefined : { name: username, password: known };
  };
  return [{ name: 'ActiveMQ', port, setting: 'bus.port', needs: [JAVA, ...BROKER_NEEDS], program: () => brokerOf(settings, folderIn(dataDir, 'activemq'), user()) }];
}

function zooKeeperIn(registry: Config['registry'], dataDir: string): Wanted[] {
  if (registry.driver !== 'zookeeper') return [];
  const [only, ...more] = (registry.settings as ZooKeeperSettings).servers;
  const at = only!.lastIndexOf(':');
  if (more.length > 0 || !LOOPBACK.has(only!.slice(0, at))) return [];
  const port = Number(only!.slice(at + 1));
  return [{ name: 'ZooKeeper', port, setting: 'registry.servers', needs: [JAVA, ...ZOOKEEPER_NEEDS], program: () => zooKeeperServer({ port, directory: folderIn(dataDir, 'zookeeper') }) }];
}

/** A server that is tended by others has a password that they have given. */
function postgresIn(storage: Config['storage'], dataDir: string): Wanted[] {
  const own = Object.entries(storage).flatMap(([module, { driver, settings }]): Tenant[] => {
    if (driver !== 'postgres') return [];
    const found = withAbsoluteFile(settings as PostgresSettings, dataDir);
    return LOOPBACK.has(found.host) && !found.tls && found.passwordFile !== undefined ? [{ settings: found, schema: found.schema ?? module }] : [];
  });
  const [first, ...more] = own;
  if (first === undefined) return [];
  const { port, database, passwordFile } = first.settings;
  const alike = more.every(({ settings }) => settings.port === port && settings.database === database && settings.passwordFile === passwordFile);
  if (!alike) throw new BootProblem('The storages with a passwordFile name different servers of this machine.', 'One PostgreSQL is started: give them the same port, database and passwordFile.');
  const directory = () => folderIn(dataDir, 'postgresql');
  return [{ name: 'PostgreSQL', port, setting: 'storage.<module>.port', needs: [postgresNeeds(join(dataDir, 'postgresql'))], program: () => postgresServer({ directory: directory(), tenants: [first, ...more], password: serverPassword(passwordFile!) }) }];
}

function folderIn(dataDir: string, name: string): string {
  const folder = join(dataDir, name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

function requirePackages(needs: readonly Needed[]): void {
  const missing = [...new Set(needs.filter((one) => !isThere(one)).map((one) => one.package))];
  if (missing.length === 0) return;
  throw new BootProblem(`Not installed on this machine: ${missing.join(', ')}.`, `On Debian and Ubuntu, as root: apt-get install -y --no-install-recommends ${missing.join(' ')}\nElsewhere, or with servers of your own: start them yourself (config/activemq.xml is the broker's configuration), and Multilith without --with-servers.`);
}

/** A name without a folder is a program that the shell would find. */
function isThere({ file }: Needed): boolean {
  if (file.includes('/')) return existsSync(file);
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, file), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function requireFree({ name, port, setting }: Wanted): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => reject(new BootProblem(`Port ${port} of 127.0.0.1, where ${name} is to listen, cannot be had (${error.code}).`, `Stop what uses it (ss -ltnp), or choose another port (${setting}). If that is the ${name} that is wanted, start Multilith without --with-servers.`, error)));
    server.listen({ host: '127.0.0.1', port }, () => server.close(() => resolve()));
  });
}
