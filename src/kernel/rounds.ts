import type { Clock, Timer } from './clock.ts';
import { type Lifecycle, StartStop } from './lifecycle.ts';

export interface RoundsOptions {
  readonly clock: Clock;
  /** From the start to the first round, and from the end of each to the next. */
  readonly everyMs: number;
  /** Asks between its pieces whether it shall go on. */
  readonly round: (goesOn: () => boolean) => Promise<void>;
  /** Told why a round has ended early; the next one comes all the same. */
  readonly failed: (error: unknown) => void;
}

/** Work that comes round again and again, one round at a time. A stop waits for the one under way. */
export class Rounds implements Lifecycle {
  readonly #options: RoundsOptions;
  readonly #life = new StartStop(
    () => this.#arm(),
    async () => {
      this.#timer?.cancel();
      await this.#under;
    },
  );
  #timer: Timer | undefined;
  #under: Promise<void> = Promise.resolve();

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  readonly #goesOn = (): boolean => this.#life.state === 'running';

  #arm(): void {
    const { clock, everyMs, round, failed } = this.#options;
    this.#timer = clock.after(everyMs, () => {
      this.#under = round(this.#goesOn)
        .catch(failed)
        .finally(() => {
          if (this.#goesOn()) this.#arm();
        });
    });
  }
}
