import type { Clock, EpochMs, Timer } from '../../src/kernel/clock.ts';

interface Alarm {
  readonly time: EpochMs;
  readonly order: number;
  readonly fire: () => void;
}

/** A clock that stands still until it is told to go on. */
export class FakeClock implements Clock {
  #now: EpochMs;
  #order = 0;
  readonly #alarms = new Set<Alarm>();
  readonly #settled: () => Promise<void>;

  /** `settled` resolves when what an alarm has set off is over. Left out: one turn of the event loop, enough for work without I/O. */
  constructor(now: EpochMs = Date.UTC(2026, 0, 1), settled = turn) {
    this.#now = now;
    this.#settled = settled;
  }

  /** Timers that are set and have not fired. */
  get pending(): number {
    return this.#alarms.size;
  }

  now(): EpochMs {
    return this.#now;
  }

  at(time: EpochMs, fire: () => void): Timer {
    const alarm = { time, order: this.#order++, fire };
    this.#alarms.add(alarm);
    // As the Clock promises: what has passed fires without anybody moving the time.
    if (time <= this.#now) setImmediate(() => this.#alarms.delete(alarm) && fire());
    return { cancel: () => void this.#alarms.delete(alarm) };
  }

  after(ms: number, fire: () => void): Timer {
    return this.at(this.#now + ms, fire);
  }

  /**
   * Moves the time on, firing what becomes due in order of time, each at its own time. Between two of them what
   * one sets off settles, so that it may set the next.
   */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await this.#settled();
    for (let next = this.#next(until); next !== undefined; next = this.#next(until)) {
      this.#alarms.delete(next);
      this.#now = Math.max(this.#now, next.time);
      next.fire();
      await this.#settled();
    }
    this.#now = until;
    await this.#settled();
  }

  #next(until: EpochMs): Alarm | undefined {
    let first: Alarm | undefined;
    for (const alarm of this.#alarms) {
      if (alarm.time > until) continue;
      if (first === undefined || alarm.time < first.time || (alarm.time === first.time && alarm.order < first.order)) first = alarm;
    }
    return first;
  }
}

/** One turn of the event loop: every promise that can settle without I/O has. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
