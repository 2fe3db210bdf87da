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
  /** The same so many milliseconds later, also when the wall clock is set meanwhile: for pauses and for the time that an answer may take. */
  after(ms: number, fire: () => void): Timer;
}

export const Clock = Symbol.for('multilith.Clock');

/** setTimeout fires at once beyond 2^31-1 ms; and a jump of the wall clock is noticed within this time. */
const LONGEST_NAP_MS = 60_000;

export const systemClock: Clock = {
  now: () => Date.now(),
  at: (time, fire) => timer(Date.now, time, fire),
  after: (ms, fire) => timer(monotonic, monotonic() + ms, fire),
};

function timer(now: () => number, time: number, fire: () => void): Timer {
  let handle: NodeJS.Timeout;
  const nap = (): void => {
    handle = setTimeout(wake, Math.min(Math.max(time - now(), 0), LONGEST_NAP_MS)).unref();
  };
  // setTimeout may be a millisecond early.
  const wake = (): void => (now() >= time ? fire() : nap());
  nap();
  return { cancel: () => clearTimeout(handle) };
}

function monotonic(): number {
  return performance.now();
}
