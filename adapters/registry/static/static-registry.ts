import { Fault } from '../../../src/kernel/fault.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Announcement, Election, Registry, RegistryNeeds, RegistryState } from '../../../src/ports/registry.ts';

/** There is one candidate for ever, so that nothing needs to be told from a leader before it. */
const ONLY_TOKEN = 1n;

/**
 * The list of the topology. Who runs behind an address is not known: the address stands for the process, and no
 * contracts are named. What this process announces of itself replaces the entry of its address, for itself alone.
 */
export class StaticRegistry implements Registry {
  readonly #listed: readonly Announcement[];
  readonly #host: string;
  readonly #replicas: number;
  readonly #log: Log;
  readonly #life: StartStop;
  readonly #listeners = new Set<(state: RegistryState) => void>();
  readonly #elections = new Map<string, OnlyCandidate>();
  #own: Announcement | undefined;

  constructor({ hosts, host, replicas }: RegistryNeeds, log: Log) {
    this.#listed = hosts.flatMap(({ host: name, addresses }) => addresses.map((address) => ({ host: name, process: address, address, contracts: {}, load: 0 })));
    this.#host = host;
    this.#replicas = replicas;
    this.#log = log.child({ registry: 'static' });
    this.#life = new StartStop(
      () => this.#followElections(),
      () => this.#shutDown(),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  async announce(announcement: Announcement): Promise<void> {
    this.#own = announcement;
    this.#tell();
  }

  async withdraw(): Promise<void> {
    this.#own = undefined;
    this.#tell();
  }

  watch(listener: (state: RegistryState) => void): () => void {
    const own = (state: RegistryState): void => listener(state);
    this.#listeners.add(own);
    listener(this.#state());
    return () => void this.#listeners.delete(own);
  }

  /**
   * Sure of itself only where nobody else can stand: an office belongs to the processes of one host, and this host has
   * one. With more, `conflict`/`static_election`.
   */
  elect(office: string): Election {
    if (this.#replicas > 1) {
      throw new Fault('conflict', `The host ${this.#host} has ${this.#replicas} processes, and a static registry cannot know which of them leads "${office}". Set registry to zookeeper, or replicas to 1.`, {
        reason: 'static_election',
        details: { host: this.#host, office, replicas: this.#replicas },
      });
    }
    if (this.#elections.has(office)) throw new Fault('conflict', `This process stands for "${office}" already.`, { reason: 'already_candidate', details: { office } });
    const candidate = new OnlyCandidate(() => this.#life.state === 'starting' || this.#life.state === 'running', () => this.#elections.delete(office));
    this.#elections.set(office, candidate);
    // Never within this call: whoever asked has not set onChange yet.
    queueMicrotask(() => candidate.follow());
    return candidate;
  }

  #state(): RegistryState {
    const own = this.#own;
    return { fresh: true, announcements: this.#listed.map((listed) => (own?.address === listed.address ? own : listed)) };
  }

  #tell(): void {
    const state = this.#state();
    for (const listener of this.#listeners) {
      try {
        listener(state);
      } catch (err) {
        this.#log.error({ err }, 'a listener of the registry failed');
      }
    }
  }

  #followElections(): void {
    for (const candidate of this.#elections.values()) candidate.follow();
  }

  #shutDown(): void {
    this.#listeners.clear();
    for (const candidate of [...this.#elections.values()]) candidate.end();
  }
}

/** Leads while the registry runs. */
class OnlyCandidate implements Election {
  onChange: (() => void) | undefined;
  readonly #running: () => boolean;
  readonly #onEnd: () => void;
  #token: bigint | undefined;
  #ended = false;

  constructor(running: () => boolean, onEnd: () => void) {
    this.#running = running;
    this.#onEnd = onEnd;
  }

  get token(): bigint | undefined {
    return this.#token;
  }

  async resign(): Promise<void> {
    this.end();
  }

  follow(): void {
    if (!this.#ended && this.#running()) this.#set(ONLY_TOKEN);
  }

  end(): void {
    this.#ended = true;
    this.#onEnd();
    this.#set(undefined);
  }

  #set(token: bigint | undefined): void {
    if (token === this.#token) return;
    this.#token = token;
    this.onChange?.();
  }
}
