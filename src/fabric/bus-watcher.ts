import type { Clock, EpochMs } from '../kernel/clock.ts';
import type { Bus } from '../ports/bus.ts';
import type { Hints } from './bus-contract.ts';
import { Poll } from './poll.ts';

const MOST_HINTS = 1_000;
const MOST_CHARACTERS = 1024 * 1024;

/** The hints of one other process on their way there. More than fit are dropped, and that is told. */
export class BusWatcher {
  readonly #clock: Clock;
  readonly #topics: string;
  readonly #stop: () => void;
  #hints: Hints['hints'] = [];
  #characters = 0;
  #gap = true;
  #poll: Poll | undefined;
  silentSince: EpochMs;

  constructor(bus: Bus, clock: Clock, topics: readonly string[]) {
    this.#clock = clock;
    this.#topics = JSON.stringify(topics);
    this.silentSince = clock.now();
    this.#stop = bus.watch(topics, {
      message: (topic, workspace, payload) => this.#add({ topic, workspace, payload }),
      gap: () => this.#drop(),
    });
  }

  watches(topics: readonly string[]): boolean {
    return JSON.stringify(topics) === this.#topics;
  }

  async next(untilMs: EpochMs, signal: () => AbortSignal): Promise<Hints> {
    this.#poll?.end();
    this.#poll = undefined;
    this.silentSince = Infinity;
    if (!this.#gap && this.#hints.length === 0) {
      const poll = new Poll(this.#clock, untilMs, signal());
      this.#poll = poll;
      await poll.over;
      if (this.#poll !== poll) return { gap: false, hints: [] };
      this.#poll = undefined;
    }
    this.silentSince = this.#clock.now();
    const answer = { gap: this.#gap, hints: this.#hints };
    this.#gap = false;
    this.#hints = [];
    this.#characters = 0;
    return answer;
  }

  close(): void {
    this.#stop();
    this.#poll?.end();
  }

  #add(hint: Hints['hints'][number]): void {
    this.#characters += hint.payload.length;
    if (this.#hints.length >= MOST_HINTS || this.#characters > MOST_CHARACTERS) return this.#drop();
    this.#hints.push(hint);
    this.#poll?.wake();
  }

  #drop(): void {
    this.#gap = true;
    this.#hints = [];
    this.#characters = 0;
    this.#poll?.wake();
  }
}
