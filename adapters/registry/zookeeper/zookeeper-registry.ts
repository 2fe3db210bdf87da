import type { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import type { Counter, Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { Announcement, Election, Registry, RegistryNeeds, RegistryState } from '../../../src/ports/registry.ts';
import { Candidate } from './candidate.ts';
import { Directory } from './directory.ts';
import type { ZooKeeperSettings } from './driver.ts';
import { Publisher } from './publisher.ts';
import type { Session, SessionOptions } from './session.ts';
import { RETRY_MOST_MS, Supervisor } from './supervisor.ts';

const OFFICE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/**
 * Under the root: `hosts` with a node for each process, `offices` with a folder for each office and a node for each
 * candidate. All three parts work on the session that the supervisor brings, and rest when it has none; what one of them
 * cannot do ends the session, so that there is one way to try again.
 */
export class ZooKeeperRegistry implements Registry {
  readonly #settings: ZooKeeperSettings;
  readonly #log: Log;
  readonly #instance = newId();
  readonly #directory: Directory;
  readonly #publisher: Publisher;
  readonly #candidates = new Map<string, Candidate>();
  readonly #supervisor: Supervisor;
  readonly #lost: Counter;
  readonly #life: StartStop;
  #session: Session | undefined;
  #refresher: NodeJS.Timeout | undefined;

  constructor(settings: ZooKeeperSettings, seeds: RegistryNeeds['hosts'], clock: Clock, log: Log, metrics: Metrics) {
    const { root, sessionTimeoutMs, servers, username, password } = settings;
    this.#settings = settings;
    this.#log = log.child({ registry: 'zookeeper' });
    this.#directory = new Directory(`${root}/hosts`, seeds, this.#log);
    this.#publisher = new Publisher(`${root}/hosts/${this.#instance}-`);
    this.#supervisor = new Supervisor({
      servers: servers.map(serverOf),
      sessionTimeoutMs,
      digest: username === undefined || password === undefined ? undefined : { username, password },
      clock,
      log: this.#log,
      onOpen: (session) => void this.#attach(session),
      onEnd: (reason) => this.#detach(reason),
    });
    this.#lost = metrics.counter('registry_sessions_lost_total', 'Sessions with ZooKeeper that ended before their time.', ['reason']);
    metrics.gauge('registry_fresh', '1 while the list of hosts is up to date, 0 while it is the last known good one.', () => Number(this.#directory.fresh));
    this.#life = new StartStop(
      () => this.#begin(),
      (deadlineMs) => this.#shutDown(deadlineMs),
    );
  }

  /** Does not wait for ZooKeeper. */
  start(): Promise<void> {
    return this.#life.start();
  }

  /** Closes the session: others see at once that this process has gone. */
  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  async announce(announcement: Announcement): Promise<void> {
    this.#publisher.announce(announcement);
  }

  withdraw(): Promise<void> {
    return this.#publisher.withdraw();
  }

  watch(listener: (state: RegistryState) => void): () => void {
    return this.#directory.watch(listener);
  }

  /** Faults: `invalid`/`office`; `conflict`/`already_candidate`. */
  elect(office: string): Election {
    if (!OFFICE.test(office)) throw new Fault('invalid', 'The name of an office has letters, digits, dots, hyphens and underscores, 100 at most.', { reason: 'office' });
    if (this.#candidates.has(office)) throw new Fault('conflict', `This process stands for "${office}" already.`, { reason: 'already_candidate', details: { office } });
    const candidate = new Candidate(`${this.#settings.root}/offices/${office}`, this.#instance, this.#log, () => this.#candidates.delete(office));
    this.#candidates.set(office, candidate);
    if (this.#session) candidate.attach(this.#session);
    return candidate;
  }

  #begin(): void {
    this.#supervisor.start();
    this.#refresher = setInterval(() => this.#refresh(), this.#settings.refreshMs).unref();
  }

  async #shutDown(deadlineMs: number): Promise<void> {
    clearInterval(this.#refresher);
    this.#session = undefined;
    for (const candidate of this.#candidates.values()) candidate.detach();
    this.#publisher.detach();
    this.#directory.close();
    await this.#supervisor.stop(deadlineMs);
  }

  async #attach(session: Session): Promise<void> {
    try {
      await session.ensure(this.#settings.root);
      await session.ensure(`${this.#settings.root}/hosts`);
      await session.ensure(`${this.#settings.root}/offices`);
    } catch (thrown) {
      return session.fail(thrown);
    }
    if (this.#life.state !== 'running' || !session.alive) return;
    this.#session = session;
    this.#publisher.attach(session);
    // Until then everybody has tried to come back, and has had the time to.
    this.#directory.attach(session, RETRY_MOST_MS + session.timeoutMs);
    for (const candidate of this.#candidates.values()) candidate.attach(session);
  }

  #detach(reason: string): void {
    if (this.#life.state !== 'running') return;
    this.#lost.add(1, { reason });
    this.#session = undefined;
    for (const candidate of this.#candidates.values()) candidate.detach();
    this.#publisher.detach();
    this.#directory.detach();
  }

  #refresh(): void {
    if (this.#session === undefined) return;
    this.#publisher.check();
    this.#directory.refresh();
    for (const candidate of this.#candidates.values()) candidate.check();
  }
}

function serverOf(text: string): SessionOptions['server'] {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}
