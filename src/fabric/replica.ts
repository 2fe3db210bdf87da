import { CircuitState, SamplingBreaker } from 'cockatiel';
import type { Link } from '../ports/transport.ts';

export interface ReplicaSettings {
  /** Of the calls of the last `windowMs`, the share that must fail before the replica is left alone. */
  readonly failureShare: number;
  readonly windowMs: number;
  /** Below so many calls a second nothing is concluded. */
  readonly leastPerSecond: number;
  /** How long it is left alone the first time; doubles with each trial that fails. */
  readonly restMs: number;
  readonly mostRestMs: number;
  /** A replica that is new or comes back gets its full share only after this long. */
  readonly slowStartMs: number;
}

export const REPLICA_DEFAULTS: ReplicaSettings = { failureShare: 0.5, windowMs: 5_000, leastPerSecond: 2, restMs: 1_000, mostRestMs: 30_000, slowStartMs: 5_000 };

/** `answered`: whatever the answer says. `left`: the caller did not wait for it, which says nothing of the replica. */
export type CallOutcome = 'answered' | 'failed' | 'left';

/** Of its full share, what a replica that has just come gets. */
const FIRST_SHARE = 0.1;

/**
 * One process that serves a module, as this process sees it: how busy, how healthy. A replica whose calls fail too
 * often is left alone for a while (a circuit breaker), then tried with one call at a time.
 */
export class Replica {
  readonly link: Link;
  readonly #settings: ReplicaSettings;
  readonly #now: () => number;
  #breaker: SamplingBreaker;
  #restingUntil = 0;
  #rests = 0;
  #trying = false;
  #triedAt = 0;
  /** Calls that began before the last rest, or over an earlier connection, say nothing of how it stands now. */
  #era = 0;
  #openedAt: number;
  /** Calls under way that were sent through here. */
  pending = 0;
  /** Called when the last of them has ended. */
  onIdle: (() => void) | undefined;

  constructor(link: Link, settings: ReplicaSettings, now: () => number) {
    this.link = link;
    this.#settings = settings;
    this.#now = now;
    this.#breaker = this.#newBreaker();
    this.#openedAt = now();
  }

  /** The connection is up again: the process may be another one, and cold. */
  opened(): void {
    this.#recover();
  }

  /** Some calls are long on purpose (a question that waits for messages): one that tries it does not keep all others away. */
  get resting(): boolean {
    return this.#restingUntil > 0 && this.#now() < (this.#trying ? this.#triedAt + this.#settings.restMs : this.#restingUntil);
  }

  get available(): boolean {
    return this.link.state === 'open' && !this.resting;
  }

  /** The lower, the sooner it is chosen. */
  get weight(): number {
    const age = this.#now() - this.#openedAt;
    const { slowStartMs } = this.#settings;
    const share = age >= slowStartMs ? 1 : Math.max(FIRST_SHARE, age / slowStartMs);
    return (this.pending + 1) / share;
  }

  /** Answers what `end` wants to know of when the call began. */
  begin(): number {
    this.pending++;
    if (this.#restingUntil > 0) {
      this.#trying = true;
      this.#triedAt = this.#now();
    }
    return this.#era;
  }

  end(outcome: CallOutcome, era: number): void {
    if (--this.pending === 0) this.onIdle?.();
    if (era !== this.#era) return;
    if (outcome === 'failed') this.#fail();
    else if (outcome === 'answered') this.#succeed();
    else this.#trying = false;
  }

  #succeed(): void {
    if (this.#trying) this.#recover();
    this.#breaker.success(CircuitState.Closed);
  }

  #fail(): void {
    const tripped = this.#breaker.failure(CircuitState.Closed);
    if (!tripped && !this.#trying) return;
    this.#trying = false;
    this.#restingUntil = this.#now() + Math.min(this.#settings.restMs * 2 ** this.#rests, this.#settings.mostRestMs);
    this.#rests++;
    this.#era++;
  }

  #recover(): void {
    this.#restingUntil = 0;
    this.#rests = 0;
    this.#trying = false;
    this.#era++;
    this.#openedAt = this.#now();
    this.#breaker = this.#newBreaker();
  }

  #newBreaker(): SamplingBreaker {
    const { failureShare: threshold, windowMs: duration, leastPerSecond: minimumRps } = this.#settings;
    return new SamplingBreaker({ threshold, duration, minimumRps });
  }
}
