import { inject, injectable } from 'inversify';
import { Clock, type Timer } from '../../../src/kernel/clock.ts';
import { type Lifecycle, StartStop } from '../../../src/kernel/lifecycle.ts';
import { Settings } from '../../../src/kernel/module.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { statement, Store } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import type { IngestSettings } from './settings.ts';

const EVERY_MS = 600_000;
const ROWS_AT_ONCE = 500;
const DAY_MS = 86_400_000;

const forgetMessages = statement<Tables, { before: number; limit: number }>()((db, p) =>
  db
    .deleteFrom('seen_messages')
    .where((eb) => eb(eb.refTuple('workspace_id', 'message_id'), 'in', eb.selectFrom('seen_messages').select(['workspace_id', 'message_id']).where('seen_at', '<', p('before')).limit(p('limit')).$asTuple('workspace_id', 'message_id')))
    .returning('seen_at'),
);
const forgetErased = statement<Tables, { before: number; limit: number }>()((db, p) =>
  db
    .deleteFrom('erased_identities')
    .where((eb) => eb(eb.refTuple('workspace_id', 'hash'), 'in', eb.selectFrom('erased_identities').select(['workspace_id', 'hash']).where('erased_at', '<', p('before')).limit(p('limit')).$asTuple('workspace_id', 'hash')))
    .returning('erased_at'),
);

/** Forgets messageIds, and the hashes of erased names, that are so old that nothing can arrive which needs them. In small pieces. */
@injectable()
export class Forgetting implements Lifecycle {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #keepMs: number;
  readonly #life = new StartStop(
    () => this.#arm(),
    async () => {
      this.#timer?.cancel();
      await this.#round;
    },
  );
  #timer: Timer | undefined;
  #round: Promise<void> = Promise.resolve();

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock, @inject(Log) log: Log, @inject(Settings) settings: { readonly ingest: IngestSettings }) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#keepMs = settings.ingest.messageIdDays * DAY_MS;
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  #arm(): void {
    this.#timer = this.#clock.at(this.#clock.now() + EVERY_MS, () => {
      this.#round = this.#forget()
        .catch((err: unknown) => this.#log.warn({ err }, 'Old messageIds are not forgotten yet; tried again later.'))
        .finally(() => {
          if (this.#life.state === 'running') this.#arm();
        });
    });
  }

  async #forget(): Promise<void> {
    const params = { before: this.#clock.now() - this.#keepMs, limit: ROWS_AT_ONCE };
    for (const forget of [forgetMessages, forgetErased]) {
      let gone: number;
      do {
        gone = (await this.#store.transaction((tx) => tx.run<typeof params, unknown>(forget, params))).length;
      } while (gone === ROWS_AT_ONCE && this.#life.state === 'running');
    }
  }
}
