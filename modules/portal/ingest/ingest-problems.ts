import { inject, injectable } from 'inversify';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import { type Page, readerOf } from '../pieces.ts';
import type { Tables } from '../tables.ts';
import type { Problem } from './batch-run.ts';
import { dropOldProblems, insertProblem } from './ingest-rows.ts';
import { REFUSALS, type RefusalReason } from './wire-item.ts';

/** Kept of each workspace. */
const MOST_KEPT = 1_000;
/** Noted of each batch: one that is wrong throughout is wrong in the same way. */
const MOST_OF_A_BATCH = 100;

export interface IngestProblem {
  readonly problemId: string;
  readonly time: EpochMs;
  readonly messageId: string | null;
  readonly type: string | null;
  /** Stable, for programs. */
  readonly reason: string;
  /** For people: what is wrong, or the name of the trait or group that it is about. */
  readonly detail: string;
}

/** What of the events sent lately was refused: SDKs do not tell their users. */
@injectable()
export class IngestProblems {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  async add(tx: Transaction<Tables>, workspace: string, problems: readonly Problem[]): Promise<void> {
    if (problems.length === 0) return;
    const time = this.#clock.now();
    for (const { messageId, type, reason, detail } of problems.slice(0, MOST_OF_A_BATCH)) {
      await tx.run(insertProblem, { id: newId(), workspace_id: workspace, time, message_id: messageId, type, reason, detail });
    }
    await tx.run(dropOldProblems, { workspace, kept: MOST_KEPT });
  }

  /** Newest first. */
  async list(workspace: string, page: Page): Promise<IngestProblem[]> {
    let query = readerOf(this.#store, page).db.selectFrom('ingest_problems').selectAll().where('workspace_id', '=', workspace).orderBy('id', 'desc').limit(page.limit);
    if (page.before !== undefined) query = query.where('id', '<', page.before);
    return (await query.execute()).map((row) => ({
      problemId: row.id,
      time: row.time,
      messageId: row.message_id,
      type: row.type,
      reason: row.reason,
      detail: row.detail === '' ? (REFUSALS[row.reason as RefusalReason] ?? '') : row.detail,
    }));
  }
}
