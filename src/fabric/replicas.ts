import type { Contract } from '../kernel/contract.ts';
import { schemasOf } from '../kernel/contract.ts';
import { incompatibilities } from '../kernel/compatibility.ts';
import { Fault } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import { type Link, NOT_CONNECTED } from '../ports/transport.ts';
import { Replica, REPLICA_DEFAULTS, type ReplicaSettings } from './replica.ts';
import { Starting } from './starting.ts';

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
  readonly address: string;
  readonly replica: Replica;
  /** By contract, why this process cannot be called; absent while nobody has looked. */
  readonly refused: Map<string, string>;
  /** The process that `refused` speaks of. */
  judged: string | undefined;
  openedBefore: boolean;
  /** Looks again at the contracts of a process that could not be asked. */
  timer: NodeJS.Timeout | undefined;
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
/** The same for one that stopped in order: on a small and busy machine a start takes its time. */
export const RETURN_MS = 30_000;
/** Calls that wait for it at a time; what comes on top fails at once. */
const MOST_WAITING = 4_096;
const LEAVE_MS = 30_000;
const JUDGE_AGAIN_MS = 1_000;

/** The processes of one host of the topology, and which of them gets the next call. */
export class Replicas implements Lifecycle {
  readonly host: string;
  readonly #options: ReplicasOptions;
  readonly #now: () => number;
  readonly #members = new Map<string, Member>();
  /** The members in a row, and where in it the choice of the last call ended. */
  #row: readonly Member[] = [];
  #chosen = -1;
  readonly #leaving = new Set<Member>();
  readonly #waiting = new Set<() => void>();
  /** By contract: who waits for its module to come back or to start. */
  readonly #starting = new Map<string, Starting>();
  #lastOpen: number;
  /** The process that was lost last had said that it stops. */
  #leftInOrder = false;
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
    const all = [...this.#row, ...this.#leaving];
    this.#members.clear();
    this.#row = [];
    this.#wake();
    await Promise.all(all.map((member) => this.#close(member, deadlineMs)));
  }

  /** Where the processes of the host are now. One that has left the list gets nothing new and keeps what is under way. */
  update(addresses: readonly string[]): void {
    if (this.#stopped) return;
    for (const address of addresses) if (!this.#members.has(address)) this.#join(address);
    for (const member of this.#row) if (!addresses.includes(member.address)) this.#leave(member);
  }

  /** The process to call, or why there is none: `unavailable`, `unsent`, with the reason `not_connected`, `resting` or `incompatible`. */
  choose(contract: string, excluded?: ReadonlySet<Replica>): Replica | Fault {
    let best: Replica | undefined;
    let bestWeight = Infinity;
    const row = this.#row;
    let bestAt = -1;
    // Of equals the next one each time, so that a row of calls one at a time is spread as well.
    for (let step = 1; step <= row.length; step++) {
      const at = (this.#chosen + step) % row.length;
      const { replica, refused } = row[at]!;
      if (refused.get(contract) !== OK || !replica.available(contract) || excluded?.has(replica)) continue;
      const weight = replica.weight(contract);
      if (weight >= bestWeight) continue;
      best = replica;
      bestWeight = weight;
      bestAt = at;
    }
    if (best === undefined) return this.#whyNone(contract);
    this.#chosen = bestAt;
    return best;
  }

  /** Every process of the host, and why those cannot be asked that cannot. For what each process answers for itself. */
  processes(contract: string): { readonly address: string; readonly reached: Link | Fault }[] {
    return this.#row.map(({ address, replica: { link }, refused }) => {
      if (link.state !== 'open') return { address, reached: none(link.problem ?? 'It is connecting.', NOT_CONNECTED) };
      const verdict = refused.get(contract) ?? 'What it serves is not known yet.';
      return { address, reached: verdict === OK ? link : none(verdict, 'incompatible') };
    });
  }

  /**
   * For how long somebody is still expected back who has stopped in order, and is most likely being started again; 0
   * after a process that was killed or cut off, which may be gone for good.
   */
  get returnMs(): number {
    return this.#leftInOrder && !this.#stopped ? Math.max(0, this.#lastOpen + RETURN_MS - this.#now()) : 0;
  }

  /** Whether somebody could be called there moments ago, so that waiting for a change may be worth it, and there is room to. */
  get mayWait(): boolean {
    this.#noteOpen();
    if (this.#stopped || this.#now() - this.#lastOpen >= this.#patienceMs) return false;
    let waiting = this.#waiting.size;
    for (const { size } of this.#starting.values()) waiting += size;
    return waiting < MOST_WAITING;
  }

  /**
   * A process has answered that it has nobody for calls of the contract, as it does while it starts. Answers for how
   * long waiting may be worth it: 0 when nothing else has been heard for long.
   */
  hopeMs(contract: string): number {
    const starting = this.#line(contract);
    return this.mayWait ? Math.max(0, starting.since + this.#patienceMs - this.#now()) : 0;
  }

  /**
   * Calls `listener` once, when the contract's module is to be asked: as one of the first when somebody can be called
   * again, as one of those who wait every 100 ms, or as one of more and more once it answers.
   */
  onceStarted(contract: string, listener: () => void): () => void {
    return this.#line(contract).wait(listener);
  }

  /** It has answered a call. */
  answered(contract: string): void {
    if (this.#starting.size === 0) return;
    const starting = this.#starting.get(contract);
    if (starting === undefined) return;
    starting.answered(this.#now());
    if (starting.size === 0) this.#starting.delete(contract);
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
    const stateOf = ({ address, replica, refused }: Member, leaving: boolean): ReplicaState => ({
      address,
      process: replica.link.peer?.process ?? null,
      state: leaving ? 'leaving' : replica.link.state === 'open' && replica.resting.length > 0 ? 'resting' : replica.link.state,
      pending: replica.pending,
      problem: replica.link.problem ?? [...refused.values()].find((why) => why !== OK) ?? restOf(replica),
      bytesSent: replica.link.traffic.sent,
      bytesReceived: replica.link.traffic.received,
    });
    return [...this.#row.map((member) => stateOf(member, false)), ...[...this.#leaving].map((member) => stateOf(member, true))];
  }

  #join(address: string): void {
    const link = this.#options.newLink(address);
    const member: Member = { address, replica: new Replica(link, this.#options.settings ?? REPLICA_DEFAULTS, this.#now, this.#options.contracts.map(({ name }) => name)), refused: new Map(), judged: undefined, openedBefore: false, timer: undefined };
    this.#members.set(address, member);
    this.#row = [...this.#members.values()];
    link.onChange = () => this.#changed(member);
    void link.start();
  }

  #leave(member: Member): void {
    const { address, replica } = member;
    if (replica.link.state === 'open') {
      this.#lastOpen = this.#now();
      // It has taken itself off the list: a stop begins with that.
      this.#leftInOrder = true;
    }
    this.#members.delete(address);
    this.#row = [...this.#members.values()];
    this.#leaving.add(member);
    this.#options.log.info({ host: this.host, at: address }, 'a process has left its host; it gets no new calls');
    void this.#drain(member).finally(() => this.#leaving.delete(member));
    this.#wake();
  }

  /** Closes once what is under way is answered. */
  async #drain(member: Member): Promise<void> {
    const { replica } = member;
    if (replica.pending > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, LEAVE_MS);
      replica.onIdle = resolve;
      await promise.finally(() => clearTimeout(timer));
    }
    await this.#close(member, 0);
  }

  async #close({ replica, timer }: Member, deadlineMs: number): Promise<void> {
    clearTimeout(timer);
    await replica.link.stop(deadlineMs);
  }

  #changed(member: Member): void {
    const { link } = member.replica;
    const { address } = member;
    const { host, log } = { host: this.host, log: this.#options.log };
    if (link.state === 'open') {
      member.replica.opened();
      for (const starting of this.#starting.values()) starting.since = this.#now();
      if (member.judged !== link.peer?.process) void this.#judge(member);
      log.info({ host, at: address, process: link.peer?.process }, 'connected');
    } else if (member.openedBefore) {
      this.#lastOpen = this.#now();
      if (this.#members.get(address) === member) this.#leftInOrder = link.leftInOrder;
      if (link.state !== 'closed') log.warn({ host, at: address, problem: link.problem }, 'connection lost; connecting again');
    }
    member.openedBefore = link.state === 'open';
    this.#wake();
  }

  /** Holds the contracts of the process that answers against those that this one calls. */
  async #judge(member: Member): Promise<void> {
    const { address, replica } = member;
    const { link } = replica;
    const { peer } = link;
    clearTimeout(member.timer);
    if (peer === undefined) return;
    member.refused.clear();
    member.judged = peer.process;
    const verdicts = await this.#verdicts(link, peer.host, peer.contracts).catch((thrown: unknown) => {
      this.#options.log.warn({ host: this.host, at: address, err: thrown }, 'the contracts of a process could not be read; asked again soon');
      return undefined;
    });
    if (member.judged !== peer.process || link.peer?.process !== peer.process) return;
    if (verdicts === undefined) return this.#judgeLater(member);
    for (const [contract, verdict] of verdicts) {
      member.refused.set(contract, verdict);
      if (verdict !== OK) this.#options.log.error({ host: this.host, at: address, contract, problem: verdict }, 'a process cannot be called: it does not fit this build');
    }
    this.#wake();
  }

  /** With the next connection, or soon when this one stays. */
  #judgeLater(member: Member): void {
    member.judged = undefined;
    if (this.#members.get(member.address) !== member) return;
    member.timer = setTimeout(() => {
      if (member.judged === undefined && member.replica.link.state === 'open') void this.#judge(member);
    }, JUDGE_AGAIN_MS);
  }

  async #verdicts(link: Link, answering: string, hashes: Readonly<Record<string, string>>): Promise<Map<string, string>> {
    const { contracts, host } = this.#options;
    if (answering !== host) return new Map(contracts.map(({ name }) => [name, `host ${answering} answers there, ${host} was expected. Correct the addresses of the topology.`]));
    const differing = contracts.filter(({ name, hash }) => hashes[name] !== undefined && hashes[name] !== hash);
    const offers = differing.length === 0 ? [] : await link.describe();
    return new Map(
      contracts.map(({ name, operations }) => {
        if (hashes[name] === undefined) return [name, `host ${answering} does not serve ${name}.`];
        if (!differing.some((one) => one.name === name)) return [name, OK];
        const offer = offers.find((one) => one.name === name);
        const problems = offer === undefined ? ['its operations are not described'] : incompatibilities(schemasOf(operations), offer.operations);
        return [name, problems.length === 0 ? OK : `${name} on host ${answering} does not fit: ${problems.slice(0, 5).join('; ')}. Run builds on both hosts that fit together.`];
      }),
    );
  }

  get #patienceMs(): number {
    return this.#leftInOrder ? RETURN_MS : AWAY_MS;
  }

  #noteOpen(): void {
    if (this.#row.some(({ replica }) => replica.link.state === 'open')) this.#lastOpen = this.#now();
  }

  #wake(): void {
    this.#noteOpen();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const listener of waiting) listener();
    for (const [contract, starting] of this.#starting) {
      if (Fault.is(this.choose(contract))) starting.letGo(starting.size);
      else starting.begin();
    }
  }

  #line(contract: string): Starting {
    const starting = this.#starting.get(contract) ?? new Starting(this.#now());
    this.#starting.set(contract, starting);
    return starting;
  }

  #whyNone(contract: string): Fault {
    const row = this.#row;
    if (row.length === 0) return none(`Host ${this.host} cannot be reached: no process of it is known.`, NOT_CONNECTED);
    const refusals = row.map(({ replica, refused }) => (replica.link.state === 'open' ? refused.get(contract) : undefined)).filter((why) => why !== undefined && why !== OK);
    if (refusals.length === row.length) return none(refusals[0]!, 'incompatible');
    if (row.some(({ replica }) => replica.link.state === 'open' && replica.isResting(contract))) return none(`Calls of ${contract} to host ${this.host} have failed too often; it is tried again soon.`, 'resting');
    const problem = row.map(({ replica }) => replica.link.problem).find((why) => why !== undefined) ?? refusals[0];
    return none(`Host ${this.host} cannot be reached${problem === undefined ? '.' : `: ${problem}`}`, NOT_CONNECTED);
  }
}

/** The verdict on a contract that can be called. */
const OK = 'ok';

function restOf({ resting }: Replica): string | null {
  return resting.length === 0 ? null : `Calls of ${resting.join(', ')} failed too often; tried again soon.`;
}

function none(message: string, reason: string): Fault {
  return new Fault('unavailable', message, { reason, origin: 'unsent', details: { retryAfterMs: 1_000 } });
}
