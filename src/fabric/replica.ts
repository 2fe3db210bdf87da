import type { Link } from '../ports/transport.ts';
import { Health, type HealthSettings } from './health.ts';

export interface ReplicaSettings extends HealthSettings {
  /** A replica that is new or comes back gets its full share only after this long. */
  readonly slowStartMs: number;
}

export const REPLICA_DEFAULTS: ReplicaSettings = { failureShare: 0.5, windowMs: 5_000, leastPerSecond: 2, restMs: 1_000, mostRestMs: 30_000, slowStartMs: 5_000 };

/** `answered`: whatever the answer says. `left`: the caller did not wait for it, which says nothing of the replica. */
export type CallOutcome = 'answered' | 'failed' | 'left';

/** Of its full share, what a replica that has just come gets. */
const FIRST_SHARE = 0.1;

/**
 * One process that serves modules, as this process sees it: how busy, and how healthy contract by contract, so that a
 * module that is slow costs those beside it nothing. The connection concerns all of them.
 */
export class Replica {
  readonly link: Link;
  readonly #settings: ReplicaSettings;
  readonly #now: () => number;
  readonly #healths = new Map<string, Health>();
  /** Calls under way that were sent through here. */
  pending = 0;
  /** Called when the last of them has ended. */
  onIdle: (() => void) | undefined;

  constructor(link: Link, settings: ReplicaSettings, now: () => number, contracts: readonly string[]) {
    this.link = link;
    this.#settings = settings;
    this.#now = now;
    for (const contract of contracts) this.#healths.set(contract, new Health(settings, now));
  }

  /** The connection is up again: the process may be another one, and cold. */
  opened(): void {
    for (const health of this.#healths.values()) health.recover();
  }

  /** The contracts that are left alone for a while. */
  get resting(): string[] {
    return [...this.#healths].filter(([, { isResting }]) => isResting).map(([contract]) => contract);
  }

  isResting(contract: string): boolean {
    return this.#healths.get(contract)?.isResting ?? false;
  }

  available(contract: string): boolean {
    return this.link.state === 'open' && !this.isResting(contract);
  }

  /** The lower, the sooner it is chosen. */
  weight(contract: string): number {
    const age = this.#now() - this.#health(contract).soundSince;
    const { slowStartMs } = this.#settings;
    const share = age >= slowStartMs ? 1 : Math.max(FIRST_SHARE, age / slowStartMs);
    return (this.pending + 1) / share;
  }

  /** Answers what `end` wants to know of when the call began. `isLong`: it waits on purpose. */
  begin(contract: string, isLong: boolean): number {
    this.pending++;
    return this.#health(contract).begin(isLong);
  }

  end(outcome: CallOutcome, contract: string, era: number): void {
    if (--this.pending === 0) this.onIdle?.();
    const health = this.#health(contract);
    if (outcome === 'answered') health.succeeded(era);
    else if (outcome === 'failed') health.failed(era);
    else health.left(era);
  }

  #health(contract: string): Health {
    return this.#healths.get(contract)!;
  }
}
