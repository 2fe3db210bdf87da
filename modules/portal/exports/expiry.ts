import { inject, injectable } from 'inversify';
import { Clock, type Timer } from '../../../src/kernel/clock.ts';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { Store } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import { Exports } from './exports.ts';

const EVERY_MS = 600_000;
const AT_ONCE = 50;

/** Deletes exports whose time is over: they hold personal data. */
@injectable()
export class ExportExpiry implements Lifecycle {
  readonly #store: Store<Tables>;
  readonly #exports: Exports;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #life = new StartStop(
    () => this.#arm(),
    async () => {
      this.#timer?.cancel();
      await this.#round;
    },
  );
  #timer: Timer | undefined;
  #round: Promise<void> = Promise.resolve();

  constructor(@inject(Store) store: Store<Tables>, @inject(Exports) exports: Exports, @inject(Clock) clock: Clock, @inject(Log) log: Log) {
    this.#store = store;
    this.#exports = exports;
    this.#clock = clock;
    this.#log = log;
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  #arm(): void {
    this.#timer = this.#clock.at(this.#clock.now() + EVERY_MS, () => {
      this.#round = this.#expire()
        .catch((err: unknown) => this.#log.warn({ err }, 'Old exports are not deleted yet; tried again later.'))
        .finally(() => {
          if (this.#life.state === 'running') this.#arm();
        });
    });
  }

  async #expire(): Promise<void> {
    const over = await this.#store.db.selectFrom('exports').select(['workspace_id', 'id']).where('expires_at', '<=', this.#clock.now()).orderBy('expires_at').limit(AT_ONCE).execute();
    for (const { workspace_id: workspace, id } of over) {
      if (this.#life.state !== 'running') return;
      // One that cannot be deleted does not keep the others.
      await this.#exports.forget(workspace, id).catch((err: unknown) => this.#log.warn({ err, exportId: id }, 'An old export is not deleted yet; tried again later.'));
    }
  }
}
