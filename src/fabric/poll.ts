import type { Clock, EpochMs, Timer } from '../kernel/clock.ts';

/** A caller that waits for something to tell it: until there is, until a time, or until it goes away. */
export class Poll {
  readonly over: Promise<void>;
  outcome: 'woken' | 'ended' | undefined;
  readonly #timer: Timer;
  readonly #signal: AbortSignal;
  #resolve!: () => void;

  constructor(clock: Clock, until: EpochMs, signal: AbortSignal) {
    this.over = new Promise((resolve) => (this.#resolve = resolve));
    this.#timer = clock.at(until, this.end);
    this.#signal = signal;
    if (signal.aborted) this.end();
    else signal.addEventListener('abort', this.end, { once: true });
  }

  wake(): void {
    this.#settle('woken');
  }

  readonly end = (): void => this.#settle('ended');

  #settle(outcome: 'woken' | 'ended'): void {
    if (this.outcome !== undefined) return;
    this.outcome = outcome;
    this.#timer?.cancel();
    this.#signal?.removeEventListener('abort', this.end);
    this.#resolve();
  }
}
