import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import type { Lifecycle } from '../../../src/kernel/lifecycle.ts';
import { Settings } from '../../../src/kernel/module.ts';
import { Rounds } from '../../../src/kernel/rounds.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import { statement, Store } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import type { IngestSettings } from './settings.ts';

const EVERY_MS = 600_000;
const ROWS_AT_ONCE = 500;
/** Of the messageIds, in one round: some 29 million rows a day. */
const PIECES_A_ROUND = 400;
const DAY_MS = 86_400_000;

interface Place {
  readonly workspace: string;
  readonly message: string;
}
const START: Place = { workspace: '', message: '' };
/** Behind every id: no text of ours begins with it. */
const END: Place = { workspace: '\u{10ffff}', message: '' };

const pieceEnd = statement<Tables, Place & { rows: number }>()((db, p) =>
  db
    .selectFrom('seen_messages')
    .select(['workspace_id as workspace', 'message_id as message'])
    .where((eb) => eb(eb.refTuple('workspace_id', 'message_id'), '>', eb.tuple(p('workspace'), p('message'))))
    .orderBy('workspace_id')
    .orderBy('message_id')
    .limit(1)
    .offset(p('rows')),
);
const forgetPiece = statement<Tables, { fromWorkspace: string; fromMessage: string; toWorkspace: string; toMessage: string; before: number }>()((db, p) =>
  db
    .deleteFrom('seen_messages')
    .where((eb) => eb(eb.refTuple('workspace_id', 'message_id'), '>', eb.tuple(p('fromWorkspace'), p('fromMessage'))))
    .where((eb) => eb(eb.refTuple('workspace_id', 'message_id'), '<=', eb.tuple(p('toWorkspace'), p('toMessage'))))
    .where('seen_at', '<', p('before')),
);
const forgetErased = statement<Tables, { before: number; limit: number }>()((db, p) =>
  db
    .deleteFrom('erased_identities')
    .where((eb) => eb(eb.refTuple('workspace_id', 'hash'), 'in', eb.selectFrom('erased_identities').select(['workspace_id', 'hash']).where('erased_at', '<', p('before')).limit(p('limit')).$asTuple('workspace_id', 'hash')))
    .returning('erased_at'),
);

/**
 * Forgets messageIds, and the hashes of erased names, that are so old that nothing can arrive which needs them. Goes
 * round all the ids in small pieces, a part of the way at a time, since there is no index by age.
 */
@injectable()
export class Forgetting implements Lifecycle {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;
  readonly #keepMs: number;
  readonly #rounds: Rounds;
  #place = START;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock, @inject(Log) log: Log, @inject(Settings) settings: { readonly ingest: IngestSettings }) {
    this.#store = store;
    this.#clock = clock;
    this.#keepMs = settings.ingest.messageIdDays * DAY_MS;
    this.#rounds = new Rounds({
      clock,
      everyMs: EVERY_MS,
      round: (goesOn) => this.#forget(goesOn),
      failed: (err) => log.warn({ err }, 'Old messageIds are not forgotten yet; tried again later.'),
    });
  }

  start(): Promise<void> {
    return this.#rounds.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#rounds.stop(deadlineMs);
  }

  async #forget(goesOn: () => boolean): Promise<void> {
    const before = this.#clock.now() - this.#keepMs;
    for (let i = 0; i < PIECES_A_ROUND && goesOn(); i++) {
      await this.#forgetPiece(before);
      if (this.#place === START) break;
    }
    let gone: number;
    do {
      gone = (await this.#store.transaction((tx) => tx.run(forgetErased, { before, limit: ROWS_AT_ONCE }))).length;
    } while (gone === ROWS_AT_ONCE && goesOn());
  }

  async #forgetPiece(before: number): Promise<void> {
    const from = this.#place;
    const [end] = await this.#store.run(pieceEnd, { ...from, rows: ROWS_AT_ONCE });
    const to = end ?? END;
    await this.#store.transaction((tx) => tx.run(forgetPiece, { fromWorkspace: from.workspace, fromMessage: from.message, toWorkspace: to.workspace, toMessage: to.message, before }));
    this.#place = end ?? START;
  }
}
