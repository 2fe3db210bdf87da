import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import type { Lifecycle } from '../../../src/kernel/lifecycle.ts';
import { Rounds } from '../../../src/kernel/rounds.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { Exports } from '../exports/exports.ts';
import { Imports } from '../imports/imports.ts';

const EVERY_MS = 600_000;
const AT_ONCE = 50;

/** Things that go with their files when their time is over. */
interface Expiring {
  expired(limit: number): Promise<{ readonly workspace: string; readonly id: string }[]>;
  forget(workspace: string, id: string): Promise<void>;
}

/** Deletes exports and imports whose time is over: they hold personal data. */
@injectable()
export class Expiry implements Lifecycle {
  readonly #kinds: readonly Expiring[];
  readonly #log: Log;
  readonly #rounds: Rounds;

  constructor(@inject(Exports) exports: Exports, @inject(Imports) imports: Imports, @inject(Clock) clock: Clock, @inject(Log) log: Log) {
    this.#kinds = [exports, imports];
    this.#log = log;
    this.#rounds = new Rounds({
      clock,
      everyMs: EVERY_MS,
      round: (goesOn) => this.#expire(goesOn),
      failed: (err) => log.warn({ err }, 'Old exports and imports are not deleted yet; tried again later.'),
    });
  }

  start(): Promise<void> {
    return this.#rounds.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#rounds.stop(deadlineMs);
  }

  async #expire(goesOn: () => boolean): Promise<void> {
    for (const kind of this.#kinds) {
      for (const { workspace, id } of await kind.expired(AT_ONCE)) {
        if (!goesOn()) return;
        // One that cannot be deleted does not keep the others.
        await kind.forget(workspace, id).catch((err: unknown) => this.#log.warn({ err, id }, 'An old export or import is not deleted yet; tried again later.'));
      }
    }
  }
}
