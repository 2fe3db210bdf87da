/** Milliseconds since 1970-01-01T00:00:00Z. */
export type EpochMs = number;

/** A timer that has been set. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

/**
 * The only source of time. Domain code takes `now` as an argument; whatever waits takes a Clock,
 * so that tests can hold the time still.
 */
export interface Clock {
  now(): EpochMs;
  /**
   * Calls `fire` once, at or after the given time; at once (but never within this call) when it has passed.
   * Waits of any length are exact: setTimeout's 24.8-day limit is met inside.
   * The timer does not keep the process alive.
   */
  at(time: EpochMs, fire: () => void): Timer;
}

export const Clock = Symbol.for('multilith.Clock');

/** setTimeout fires at once beyond 2^31-1 ms; and a jump of the wall clock is noticed within this time. */
const LONGEST_NAP_MS = 60_000;

export const systemClock: Clock = {
  now: () => Date.now(),
  at(time, fire) {
    let handle: NodeJS.Timeout;
    const nap = (): void => {
      handle = setTimeout(wake, Math.min(Math.max(time - Date.now(), 0), LONGEST_NAP_MS)).unref();
    };
    // setTimeout counts monotonic time and may be a millisecond early by the wall clock.
    const wake = (): void => (Date.now() >= time ? fire() : nap());
    nap();
    return { cancel: () => clearTimeout(handle) };
  },
};
