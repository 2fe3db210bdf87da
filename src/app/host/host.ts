import type { Server } from 'node:http';
import { systemClock } from '../../kernel/clock.ts';
import type { DriverContext } from '../../kernel/driver.ts';
import { StartStop, type Lifecycle } from '../../kernel/lifecycle.ts';
import type { Bus } from '../../ports/bus.ts';
import type { Channel } from '../../ports/channel.ts';
import type { Storage } from '../../ports/storage.ts';
import type { Placement } from '../../fabric/placements.ts';
import type { Config } from '../config/config.ts';
import { urlOf } from '../config/listen.ts';
import type { Parts } from '../config/parts.ts';
import { compose, type Composition } from '../container.ts';
import { controlListener } from '../control/desk.ts';
import { takeDataDir } from '../control/socket.ts';
import { prepareDataDir } from './data-dir.ts';
import { createBus, createChannel } from './drivers.ts';
import { HealthSurface } from './health.ts';
import { HttpServer } from './http-server.ts';
import { installationSecret } from './installation.ts';
import type { HostLog } from './log.ts';
import { createMetrics } from './metrics.ts';

/** Of the time that a stop may take, what the web server gets to answer what is under way; the modules get the rest. */
const HTTP_SHARE = 0.4;

/** One process of a topology, from its lock to its web server. */
export class Host implements Lifecycle {
  readonly #config: Config;
  readonly #parts: Parts;
  readonly #log: HostLog;
  readonly #life: StartStop;
  readonly #health: HealthSurface;
  readonly #http: HttpServer;
  readonly #metrics = createMetrics();
  #control: Server | undefined;
  #channels: ReadonlyMap<string, Channel> = new Map();
  #composition: Composition | undefined;

  constructor(config: Config, name: string, parts: Parts, log: HostLog) {
    this.#config = config;
    this.#parts = { ...parts, modules: parts.modules.filter((module) => config.hosts[name]!.modules.includes(module.name)) };
    this.#log = log;
    this.#health = new HealthSurface(this.#metrics, this.#parts.modules.map((module) => module.name));
    this.#http = new HttpServer(config.http, log, this.#metrics);
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
      throw error;
    }
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /** What a browser on this machine opens. */
  get localUrl(): string {
    return urlOf(this.#http.address);
  }

  /** What the modules have to say to whoever started this. */
  async greetings(): Promise<string[]> {
    const lines = await Promise.all(this.#parts.modules.map(async ({ name, greeting }) => (greeting === undefined ? [] : this.#composition!.part(name, greeting).lines())));
    return lines.flat();
  }

  /** First what tells a person that it cannot work: the folder, the lock, the port. Then what takes time. */
  async #start(): Promise<void> {
    const { dataDir } = this.#config;
    prepareDataDir(dataDir);
    this.#control = await takeDataDir(dataDir);
    const secret = installationSecret(dataDir);
    this.#http.surfaces = [this.#health];
    await this.#http.start();
    const bus = createBus(this.#config.bus, this.#parts, this.#context);
    this.#channels = new Map(Object.entries(this.#config.channels).map(([name, chosen]) => [name, createChannel(name, chosen, this.#parts, this.#context)]));
    const composition = this.#compose(bus, secret);
    this.#composition = composition;
    this.#control.on('request', controlListener({ bus, log: this.#log, status: () => this.#status(), operator: (module, command) => this.#operator(module, command) }));
    for (const channel of this.#channels.values()) await channel.start();
    await composition.start();
    this.#metrics.watchQueues(bus);
    this.#http.surfaces = [this.#health, ...composition.http];
    this.#health.phase = 'ready';
  }

  async #stop(deadlineMs: number): Promise<void> {
    const until = Date.now() + deadlineMs;
    this.#health.phase = 'stopping';
    const leftMs = () => Math.max(until - Date.now(), 0);
    await this.#http.stop(deadlineMs * HTTP_SHARE);
    try {
      // First, since the consumers wait for their mails: a server that does not answer must not hold up the stop.
      for (const channel of this.#channels.values()) channel.quiesce?.();
      await this.#composition?.stop(leftMs());
      for (const channel of this.#channels.values()) await channel.stop(leftMs());
    } finally {
      // Last, since with it the data directory is free for the next process.
      await closeServer(this.#control);
    }
  }

  #compose(bus: Bus, secret: Uint8Array): Composition {
    const { modules } = this.#parts;
    return compose({
      modules,
      placement: (this.#config.calls[modules[0]!.name]?.via ?? 'inline') as Placement,
      clock: systemClock,
      log: this.#log,
      metrics: this.#metrics,
      installation: { publicUrl: this.#config.publicUrlGiven ? this.#config.publicUrl : this.localUrl, secret },
      openStorage: (module) => this.#openStorage(module),
      bus,
      channels: this.#channels,
      settings: this.#config.modules,
    });
  }

  get #context(): DriverContext {
    return { clock: systemClock, log: this.#log, metrics: this.#metrics, dataDir: this.#config.dataDir };
  }

  #openStorage(name: string): Storage {
    const { driver, settings } = this.#config.storage[name]!;
    return this.#parts.storage[driver]!.create(settings, { ...this.#context, name });
  }

  #operator(module: string, command: string) {
    const part = this.#parts.modules.find(({ name }) => name === module)?.operator?.[command];
    return part && this.#composition!.part(module, part);
  }

  #status(): object {
    const { topology, dataDir, publicUrl, channels } = this.#config;
    return { pid: process.pid, phase: this.#health.phase, topology, dataDir, url: this.localUrl, publicUrl, modules: this.#parts.modules.map(({ name }) => name), channels: Object.fromEntries(Object.entries(channels).map(([name, { driver }]) => [name, driver])), uptimeSeconds: Math.round(process.uptime()) };
  }
}

function closeServer(server: Server | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (server === undefined) return resolve();
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
