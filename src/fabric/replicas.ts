import type { Contract } from '../kernel/contract.ts';
import { Fault } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import { type Link, NOT_CONNECTED } from '../ports/transport.ts';
import { type Candidate, Choice, notCallable } from './choice.ts';
import { Patience } from './patience.ts';
import { Replica, REPLICA_DEFAULTS, type ReplicaSettings } from './replica.ts';
import { Verdicts } from './verdicts.ts';

/** How one process of a host stands, as whoever calls it sees it. */
export interface ReplicaState {
  readonly address: string;
  /** From 1 on: the lowest that was free when it joined, kept for as long as it is there. */
  readonly number: number;
  readonly process: string | null;
  readonly state: 'connecting' | 'open' | 'closed' | 'resting' | 'leaving';
  readonly pending: number;
  /** Why it cannot be called now, for people. */
  readonly problem: string | null;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

interface Member extends Candidate {
  readonly address: string;
  readonly number: number;
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

const LEAVE_MS = 30_000;

/** The processes of one host of the topology: who they are, and how they come and go. */
export class Replicas implements Lifecycle {
  readonly host: string;
  /** For calls that find nobody. */
  readonly patience: Patience;
  readonly #options: ReplicasOptions;
  readonly #now: () => number;
  readonly #choice: Choice;
  readonly #members = new Map<string, Member>();
  /** The members in a row. */
  #row: readonly Member[] = [];
  readonly #leaving = new Set<Member>();
  #stopped = false;

  constructor(options: ReplicasOptions) {
    this.host = options.host;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#choice = new Choice(options.host);
    this.patience = new Patience({
      isOpen: () => this.#row.some(({ replica }) => replica.link.state === 'open'),
      isCallable: (contract) => !Fault.is(this.choose(contract)),
      now: this.#now,
    });
  }

  async start(): Promise<void> {}

  /** Lets calls under way finish, then closes every connection. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopped = true;
    const all = [...this.#row, ...this.#leaving];
    this.#members.clear();
    this.#row = [];
    this.patience.close();
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
    return this.#choice.from(this.#row, contract, excluded);
  }

  /** Every process of the host, and why those cannot be asked that cannot. For what each process answers for itself. */
  processes(contract: string): { readonly address: string; readonly reached: Link | Fault }[] {
    return this.#row.map(({ address, replica: { link }, verdicts }) => {
      if (link.state !== 'open') return { address, reached: notCallable(link.problem ?? 'It is connecting.', NOT_CONNECTED) };
      return { address, reached: verdicts.allows(contract) ? link : notCallable(verdicts.problemOf(contract) ?? 'What it serves is not known yet.', 'incompatible') };
    });
  }

  /** Whether every contract can be called there. */
  get ready(): boolean {
    return this.#options.contracts.every(({ name }) => !Fault.is(this.choose(name)));
  }

  states(): ReplicaState[] {
    return [...this.#row.map((member) => stateOf(member, false)), ...[...this.#leaving].map((member) => stateOf(member, true))];
  }

  #join(address: string): void {
    const { contracts, newLink, log, settings = REPLICA_DEFAULTS } = this.#options;
    const { host } = this;
    const link = newLink(address);
    const member: Member = {
      address,
      number: this.#freeNumber(),
      replica: new Replica(link, settings, this.#now, contracts.map(({ name }) => name)),
      verdicts: new Verdicts({ host, contracts, link, log: log.child({ host, at: address }), onJudged: () => this.patience.wake() }),
      openedBefore: false,
    };
    this.#members.set(address, member);
    this.#row = [...this.#members.values()];
    link.onChange = () => this.#changed(member);
    void link.start();
  }

  #freeNumber(): number {
    const taken = new Set([...this.#members.values(), ...this.#leaving].map(({ number }) => number));
    let number = 1;
    while (taken.has(number)) number++;
    return number;
  }

  #leave(member: Member): void {
    const { address, replica } = member;
    // It has taken itself off the list: a stop begins with that.
    if (replica.link.state === 'open') this.patience.went(true);
    this.#members.delete(address);
    this.#row = [...this.#members.values()];
    this.#leaving.add(member);
    this.#options.log.info({ host: this.host, at: address }, 'a process has left its host; it gets no new calls');
    void this.#drain(member).finally(() => this.#leaving.delete(member));
    this.patience.wake();
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

  async #close({ replica, verdicts }: Member, deadlineMs: number): Promise<void> {
    verdicts.close();
    await replica.link.stop(deadlineMs);
  }

  #changed(member: Member): void {
    const { address, replica, verdicts } = member;
    const { link } = replica;
    const { host } = this;
    const { log } = this.#options;
    if (link.state === 'open') {
      replica.opened();
      this.patience.came();
      verdicts.opened();
      log.info({ host, at: address, process: link.peer?.process }, 'connected');
    } else if (member.openedBefore) {
      this.patience.went(this.#members.get(address) === member ? link.leftInOrder : undefined);
      if (link.state !== 'closed') log.warn({ host, at: address, problem: link.problem }, 'connection lost; connecting again');
    }
    member.openedBefore = link.state === 'open';
    this.patience.wake();
  }
}

function stateOf({ address, number, replica, verdicts }: Member, leaving: boolean): ReplicaState {
  const { link, pending, resting } = replica;
  return {
    address,
    number,
    process: link.peer?.process ?? null,
    state: leaving ? 'leaving' : link.state === 'open' && resting.length > 0 ? 'resting' : link.state,
    pending,
    problem: link.problem ?? verdicts.problem ?? (resting.length > 0 ? `Calls of ${resting.join(', ')} failed too often; tried again soon.` : null),
    bytesSent: link.traffic.sent,
    bytesReceived: link.traffic.received,
  };
}
