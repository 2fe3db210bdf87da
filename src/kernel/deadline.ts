/** Something that must end by a time; `index` is the wheel's own note of where the entry lies. */
export interface Deadline {
  slot: number;
  index: number;
  /** Called once, at most two ticks (TICK_MS) after the time has passed. */
  expire(): void;
}

/** How coarse deadlines are. */
export const TICK_MS = 10;
const SLOTS = 1024;
/** Between the clock at the last tick and now; beyond it the loop was held up or the clock was set, and we look. */
const USUAL_MS = 2 * TICK_MS;

/**
 * One timer for all deadlines of a process (a hashed timing wheel, Varghese and Lauck 1987): adding and removing
 * are a push and a swap, about 20 ns, where setTimeout and clearTimeout cost 400 ns. The timer runs only while
 * there are entries and does not keep the process alive.
 *
 * Deadlines are told in wall time and kept in monotonic time: what ends in N ms when it is added ends after N ms, also
 * when the clock is set in between. A deadline that was told before the clock was set and is added after is as far
 * away as the clock says.
 */
export class DeadlineWheel {
  readonly #slots: { entry: Deadline; tick: number }[][] = Array.from({ length: SLOTS }, () => []);
  #count = 0;
  #tick = 0;
  /** Wall time less monotonic time, and the wall time at which it was taken. */
  #offset = 0;
  #offsetAt = 0;
  #timer: NodeJS.Timeout | undefined;

  get size(): number {
    return this.#count;
  }

  /** `now` is the wall time, for whoever has just read it. */
  add(entry: Deadline, deadline: number, now: number = Date.now()): void {
    const aheadMs = now - this.#offsetAt;
    if (this.#timer === undefined || aheadMs < 0 || aheadMs > USUAL_MS) this.#takeOffset(now);
    if (this.#timer === undefined) {
      this.#tick = Math.floor((now - this.#offset) / TICK_MS);
      this.#timer = setInterval(() => this.#advance(), TICK_MS).unref();
    }
    // Never in the tick under way: the slot may have been emptied already.
    const tick = Math.max(Math.ceil((deadline - this.#offset) / TICK_MS), this.#tick + 1);
    entry.slot = tick % SLOTS;
    const slot = this.#slots[entry.slot]!;
    entry.index = slot.length;
    slot.push({ entry, tick });
    this.#count++;
  }

  /** Removing twice, or after it expired, does nothing. */
  remove(entry: Deadline): void {
    if (entry.index < 0) return;
    const slot = this.#slots[entry.slot]!;
    const last = slot.pop()!;
    if (last.entry !== entry) {
      slot[entry.index] = last;
      last.entry.index = entry.index;
    }
    entry.index = -1;
    this.#count--;
  }

  #takeOffset(wall: number): number {
    const steady = performance.now();
    this.#offset = wall - steady;
    this.#offsetAt = wall;
    return steady;
  }

  #advance(): void {
    const now = Math.floor(this.#takeOffset(Date.now()) / TICK_MS);
    // After a long pause one full turn visits every slot.
    const from = Math.max(this.#tick + 1, now - SLOTS + 1);
    for (let tick = from; tick <= now; tick++) this.#expire(this.#slots[tick % SLOTS]!, now);
    this.#tick = now;
    if (this.#count === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  #expire(slot: { entry: Deadline; tick: number }[], now: number): void {
    for (let i = slot.length - 1; i >= 0; i--) {
      const item = slot[i];
      if (item === undefined || item.tick > now) continue;
      this.remove(item.entry);
      item.entry.expire();
    }
  }
}

/** The wheel of this process. */
export const deadlines = new DeadlineWheel();
