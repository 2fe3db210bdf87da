import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import type { Lifecycle } from '../../../src/kernel/lifecycle.ts';
import { Rounds } from '../../../src/kernel/rounds.ts';
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
  readonly #rounds: Rounds;

  constructor(@inject(Store) store: Store<Tables>, @inject(Exports) exports: Exports, @inject(Clock) clock: Clock, @inject(Log) log: Log) {
    this.#store = store;
    this.#exports = exports;
    this.#clock = clock;
    this.#log = log;
    this.#rounds = new Rounds({
      clock,
      everyMs: EVERY_MS,
      round: (goesOn) => this.#expire(goesOn),
      failed: (err) => log.warn({ err }, 'Old exports are not deleted yet; tried again later.'),
    });
  }

  start(): Promise<void> {
    return this.#rounds.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#rounds.stop(deadlineMs);
  }

  async #expire(goesOn: () => boolean): Promise<void> {
    const over = await this.#store.db.selectFrom('exports').select(['workspace_id', 'id']).where('expires_at', '<=', this.#clock.now()).orderBy('expires_at').limit(AT_ONCE).execute();
    for (const { workspace_id: workspace, id } of over) {
      if (!goesOn()) return;
      // One that cannot be deleted does not keep the others.
      await this.#exports.forget(workspace, id).catch((err: unknown) => this.#log.warn({ err, exportId: id }, 'An old export is not deleted yet; tried again later.'));
    }
  }
}
