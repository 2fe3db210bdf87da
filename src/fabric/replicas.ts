import type { Contract } from '../kernel/contract.ts';
import { schemasOf } from '../kernel/contract.ts';
import { incompatibilities } from '../kernel/compatibility.ts';
import { Fault } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Link } from '../ports/transport.ts';
import { Replica, REPLICA_DEFAULTS, type ReplicaSettings } from './replica.ts';

/** How one process of a host stands, as whoever calls it sees it. */
export interface ReplicaState {
  readonly address: string;
  readonly process: string | null;
  readonly state: 'connecting' | 'open' | 'closed' | 'resting' | 'leaving';
  readonly pending: number;
  /** Why it cannot be called now, for people. */
  readonly problem: string | null;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

interface Member {
  readonly replica: Replica;
  /** By contract, why this process cannot be called; absent while nobody has looked. */
  readonly refused: Map<string, string>;
  /** The process that `refused` speaks of. */
  judged: string | undefined;
  openedBefore: boolean;
}

export interface ReplicasOptions {
  /** By the topology: whoever answers under another name is not called. */
  readonly host: string;
  /** What this process calls there. */
  readonly contracts: readonly Contract<any>[];
  readonly newLink: (address: string) => Link;
  readonly log: Log;
  readonly settings?: ReplicaSettings;
  /** Monotonic, in ms. Default: `performance.now`. */
  readonly now?: () => number;
}

/** A callee that was there a moment ago is waited for, within the deadline; one that has been away longer is not. */
const AWAY_MS = 10_000;
const LEAVE_MS = 30_000;

/** The processes of one host of the topology, and which of them gets the next call. */
export class Replicas implements Lifecycle {
  readonly host: string;
  readonly #options: ReplicasOptions;
  readonly #now: () => number;
  readonly #members = new Map<string, Member>();
  readonly #leaving = new Map<string, Member>();
  readonly #waiting = new Set<() => void>();
  #lastOpen: number;
  #stopped = false;

  constructor(options: ReplicasOptions) {
    this.host = options.host;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#lastOpen = this.#now();
  }

  async start(): Promise<void> {}

  /** Lets calls under way finish, then closes every connection. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopped = true;
    const all = [...this.#members.values(), ...this.#leaving.values()];
    this.#members.clear();
    this.#leaving.clear();
    this.#wake();
    await Promise.all(all.map(({ replica }) => replica.link.stop(deadlineMs)));
  }

  /** Where the processes of the host are now. One that has left the list gets nothing new and keeps what is under way. */
  update(addresses: readonly string[]): void {
    if (this.#stopped) return;
    for (const address of addresses) if (!this.#members.has(address)) this.#join(address);
    for (const [address, member] of this.#members) if (!addresses.includes(address)) this.#leave(address, member);
  }

  /** The process to call, or why there is none: `unavailable`, `unsent`, with the reason `not_connected`, `resting` or `incompatible`. */
  choose(contract: string, excluded?: ReadonlySet<Replica>): Replica | Fault {
    let best: Replica | undefined;
    let bestWeight = Infinity;
    for (const { replica, refused } of this.#members.values()) {
      if (!replica.available || refused.get(contract) !== OK || excluded?.has(replica)) continue;
      const { weight } = replica;
      // Of equals another one each time, so that a row of calls one at a time is spread as well.
      if (weight < bestWeight || (weight === bestWeight && Math.random() < 0.5)) [best, bestWeight] = [replica, weight];
    }
    return best ?? this.#whyNone(contract);
  }

  /** Whether somebody could be called there moments ago, so that waiting for a change may be worth it. */
  get isJustAway(): boolean {
    return !this.#stopped && this.#now() - this.#lastOpen < AWAY_MS;
  }

  /** Calls `listener` once, at the next change of who can be called. Answers what takes it back. */
  onceChanged(listener: () => void): () => void {
    this.#waiting.add(listener);
    return () => this.#waiting.delete(listener);
  }

  /** Whether every contract can be called there. */
  get ready(): boolean {
    return this.#options.contracts.every(({ name }) => !Fault.is(this.choose(name)));
  }

  states(): ReplicaState[] {
    const stateOf = ([address, { replica, refused }]: readonly [string, Member], leaving: boolean): ReplicaState => ({
      address,
      process: replica.link.peer?.process ?? null,
      state: leaving ? 'leaving' : replica.resting ? 'resting' : replica.link.state,
      pending: replica.pending,
      problem: replica.link.problem ?? [...refused.values()].find((why) => why !== OK) ?? null,
      bytesSent: replica.link.traffic.sent,
      bytesReceived: replica.link.traffic.received,
    });
    return [...[...this.#members].map((entry) => stateOf(entry, false)), ...[...this.#leaving].map((entry) => stateOf(entry, true))];
  }

  #join(address: string): void {
    const link = this.#options.newLink(address);
    const member: Member = { replica: new Replica(link, this.#options.settings ?? REPLICA_DEFAULTS, this.#now), refused: new Map(), judged: undefined, openedBefore: false };
    this.#members.set(address, member);
    link.onChange = () => this.#changed(address, member);
    void link.start();
  }

  #leave(address: string, member: Member): void {
    this.#members.delete(address);
    this.#leaving.set(address, member);
    this.#options.log.info({ host: this.host, address }, 'a process has left its host; it gets no new calls');
    void member.replica.link.stop(LEAVE_MS).finally(() => this.#leaving.delete(address));
    this.#wake();
  }

  #changed(address: string, member: Member): void {
    const { link } = member.replica;
    const { host, log } = { host: this.host, log: this.#options.log };
    if (link.state === 'open') {
      member.replica.opened();
      if (member.judged !== link.peer?.process) void this.#judge(address, member);
      else this.#usable();
      log.info({ host, address, process: link.peer?.process }, 'connected');
    } else if (member.openedBefore) {
      log.warn({ host, address, problem: link.problem }, 'connection lost; connecting again');
    }
    member.openedBefore = link.state === 'open';
    this.#wake();
  }

  /** Holds the contracts of the process that answers against those that this one calls. */
  async #judge(address: string, member: Member): Promise<void> {
    const { link } = member.replica;
    const { peer } = link;
    if (peer === undefined) return;
    member.refused.clear();
    member.judged = peer.process;
    const verdicts = await this.#verdicts(link, peer.host, peer.contracts).catch((thrown: unknown) => {
      this.#options.log.warn({ host: this.host, address, err: thrown }, 'the contracts of a process could not be read; asked again with its next connection');
      member.judged = undefined;
      return undefined;
    });
    if (verdicts === undefined || link.peer?.process !== peer.process) return;
    for (const [contract, verdict] of verdicts) {
      member.refused.set(contract, verdict);
      if (verdict !== OK) this.#options.log.error({ host: this.host, address, contract, problem: verdict }, 'a process cannot be called: it does not fit this build');
    }
    this.#usable();
    this.#wake();
  }

  async #verdicts(link: Link, answering: string, hashes: Readonly<Record<string, string>>): Promise<Map<string, string>> {
    const { contracts, host } = this.#options;
    if (answering !== host) return new Map(contracts.map(({ name }) => [name, `host ${answering} answers there, ${host} was expected`]));
    const differing = contracts.filter(({ name, hash }) => hashes[name] !== undefined && hashes[name] !== hash);
    const offers = differing.length === 0 ? [] : await link.describe();
    return new Map(
      contracts.map(({ name, operations }) => {
        if (hashes[name] === undefined) return [name, `host ${answering} does not serve ${name}`];
        if (!differing.some((one) => one.name === name)) return [name, OK];
        const offer = offers.find((one) => one.name === name);
        const problems = offer === undefined ? [`host ${answering} does not describe ${name}`] : incompatibilities(schemasOf(operations), offer.operations);
        return [name, problems.length === 0 ? OK : `${name} on host ${answering} does not fit: ${problems.slice(0, 5).join('; ')}`];
      }),
    );
  }

  #usable(): void {
    this.#lastOpen = this.#now();
  }

  #wake(): void {
    if ([...this.#members.values()].some(({ replica }) => replica.available)) this.#usable();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const listener of waiting) listener();
  }

  #whyNone(contract: string): Fault {
    const members = [...this.#members.values()];
    const refusal = members.map(({ refused }) => refused.get(contract)).find((why) => why !== undefined && why !== OK);
    if (refusal !== undefined) return none(`${refusal}. Run builds on both hosts that fit together.`, 'incompatible');
    const resting = members.some(({ replica }) => replica.resting);
    if (resting) return none(`Host ${this.host} has failed too often; it is tried again soon.`, 'resting');
    const problem = members.map(({ replica }) => replica.link.problem).find((why) => why !== undefined);
    return none(`Host ${this.host} cannot be reached${problem === undefined ? '' : `: ${problem}`}.`, 'not_connected');
  }
}

/** The verdict on a contract that can be called. */
const OK = 'ok';

function none(message: string, reason: string): Fault {
  return new Fault('unavailable', message, { reason, origin: 'unsent', details: { retryAfterMs: 1_000 } });
}
