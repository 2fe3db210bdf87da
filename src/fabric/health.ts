import { CircuitState, SamplingBreaker } from 'cockatiel';

export interface HealthSettings {
  /** Of the calls of the last `windowMs`, the share that must fail before no more are made. */
  readonly failureShare: number;
  readonly windowMs: number;
  /** Below so many calls a second nothing is concluded. */
  readonly leastPerSecond: number;
  /** How long none is made the first time; doubles with each trial that fails. */
  readonly restMs: number;
  readonly mostRestMs: number;
}

/**
 * How the calls of one contract to one process fare: a circuit breaker. When too many fail, none is made for a while,
 * then one at a time until one is answered.
 */
export class Health {
  readonly #settings: HealthSettings;
  readonly #now: () => number;
  #breaker: SamplingBreaker;
  /** Stays until a call that began after the rest is answered. */
  #restingUntil = 0;
  #rests = 0;
  #trying = false;
  #triedAt = 0;
  /** Calls that began before the last rest, or over an earlier connection, say nothing of how it stands now. */
  #era = 0;
  #soundSince: number;

  constructor(settings: HealthSettings, now: () => number) {
    this.#settings = settings;
    this.#now = now;
    this.#breaker = this.#newBreaker();
    this.#soundSince = now();
  }

  /** When it was new, or came back. */
  get soundSince(): number {
    return this.#soundSince;
  }

  /** A trial that takes long does not keep all others away. */
  get isResting(): boolean {
    return this.#restingUntil > 0 && this.#now() < (this.#trying ? this.#triedAt + this.#settings.restMs : this.#restingUntil);
  }

  /** Answers what the outcome has to be told with. A call that is long on purpose is nobody's trial. */
  begin(isLong: boolean): number {
    if (this.#restingUntil > 0 && !isLong) {
      this.#trying = true;
      this.#triedAt = this.#now();
    }
    return this.#era;
  }

  succeeded(era: number): void {
    if (era !== this.#era) return;
    if (this.#restingUntil > 0) this.recover();
    this.#breaker.success(CircuitState.Closed);
  }

  failed(era: number): void {
    if (era !== this.#era) return;
    const tripped = this.#breaker.failure(CircuitState.Closed);
    if (!tripped && this.#restingUntil === 0) return;
    this.#trying = false;
    this.#restingUntil = this.#now() + Math.min(this.#settings.restMs * 2 ** this.#rests, this.#settings.mostRestMs);
    this.#rests++;
    this.#era++;
  }

  /** The caller did not wait for the outcome. */
  left(era: number): void {
    if (era === this.#era) this.#trying = false;
  }

  /** Sound, and cold. */
  recover(): void {
    this.#restingUntil = 0;
    this.#rests = 0;
    this.#trying = false;
    this.#era++;
    this.#soundSince = this.#now();
    this.#breaker = this.#newBreaker();
  }

  #newBreaker(): SamplingBreaker {
    const { failureShare: threshold, windowMs: duration, leastPerSecond: minimumRps } = this.#settings;
    return new SamplingBreaker({ threshold, duration, minimumRps });
  }
}
