import type { Clock, EpochMs } from '../../../src/kernel/clock.ts';

/**
 * A point in time by the monotonic clock, which nobody sets but which stands still while a machine sleeps, and by the
 * wall clock, which goes on. What has passed is the longer of the two: to believe too much is safe here.
 */
export class Moment {
  readonly #clock: Clock;
  readonly #wall: EpochMs;
  readonly #monotonic = performance.now();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#wall = clock.now();
  }

  get agoMs(): number {
    return Math.max(performance.now() - this.#monotonic, this.#clock.now() - this.#wall);
  }
}
