import { setImmediate as nextTurn } from 'node:timers/promises';
import { inject, injectable } from 'inversify';
import type { Actor } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { type Reader, Store, type StorageTransaction } from '../../../src/ports/storage.ts';
import { type Page, readerOf } from '../pieces.ts';
import type { AuditRow, Tables } from '../tables.ts';

/**
 * - `begun`: under way, or cut off by a crash: nobody knows how far it came.
 * - `done`.
 * - `refused`: changed nothing, with the reason after a colon, e.g. `refused:version_changed`.
 * - `failed`: something went wrong on our side, or the outcome is not known.
 */
export type AuditOutcome = 'begun' | 'done' | `refused:${string}` | `failed:${string}`;

export interface AuditEntry {
  readonly entryId: string;
  readonly actor: { readonly kind: string; readonly id: string };
  readonly action: string;
  readonly targetId: string | null;
  readonly outcome: string;
  readonly address: string;
  readonly callId: string;
  readonly time: EpochMs;
}

export interface AuditedAction {
  readonly workspace: string | null;
  readonly actor: Actor;
  /** The operation's id, e.g. `publishTemplate`. */
  readonly action: string;
  /** Id of what it was done to; never an address or a name. */
  readonly targetId: string | null;
  readonly address: string;
  readonly callId: string;
}

export interface AuditFilter {
  readonly actorId?: string | undefined;
  readonly action?: string | undefined;
  readonly targetId?: string | undefined;
}

/** What one turn of the event loop can bear. */
const ROWS_AT_ONCE = 250;
/** For one page. */
const MOST_READ = 5_000;

/**
 * Who did what, when, to what, and from where. An entry is written before the deed and completed after it, so that
 * nothing is done unseen, not even across a crash.
 */
@injectable()
export class Audit {
  readonly #store: Store<Tables>;
  readonly #clock: Clock;

  constructor(@inject(Store) store: Store<Tables>, @inject(Clock) clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Answers the entry's id, for `complete`. */
  async begin(tx: StorageTransaction<Tables>, action: AuditedAction, outcome: AuditOutcome = 'begun'): Promise<string> {
    const now = this.#clock.now();
    const row: AuditRow = {
      id: newId(),
      workspace_id: action.workspace,
      actor_kind: action.actor.kind,
      actor_id: action.actor.id,
      action: action.action,
      target_id: action.targetId,
      outcome,
      address: action.address,
      call_id: action.callId,
      time: now,
    };
    await tx.db.insertInto('audit_entries').values(row).execute();
    return row.id;
  }

  async complete(tx: StorageTransaction<Tables>, entryId: string, outcome: AuditOutcome, targetId: string | null): Promise<void> {
    await tx.db.updateTable('audit_entries').set({ outcome, target_id: targetId }).where('id', '=', entryId).execute();
  }

  /** One entry for what is over already. */
  async record(action: AuditedAction, outcome: AuditOutcome): Promise<void> {
    await this.#store.transaction((tx) => this.begin(tx, action, outcome));
  }

  /**
   * Newest first. One filter is served by an index; where several are given, rows are read by one of them and looked at
   * for the others, MOST_READ of them a page: it may be short, or empty, and still have a `next`.
   */
  async list(workspace: string, page: Page & AuditFilter): Promise<{ entries: AuditEntry[]; next: string | null }> {
    const lists = readerOf(this.#store, page);
    const found: AuditRow[] = [];
    let before = page.before;
    for (let looked = 0; looked < MOST_READ; looked += ROWS_AT_ONCE) {
      const rows = await read(lists, workspace, page, before);
      found.push(...rows.filter((row) => fits(row, page)));
      if (found.length > page.limit) return { entries: found.slice(0, page.limit).map(toEntry), next: found[page.limit - 1]!.id };
      if (rows.length < ROWS_AT_ONCE) return { entries: found.map(toEntry), next: null };
      before = rows.at(-1)!.id;
      await nextTurn();
    }
    return { entries: found.map(toEntry), next: before ?? null };
  }
}

/** By the filter that fewest entries fit. */
function read({ db }: Reader<Tables>, workspace: string, { targetId, actorId, action }: AuditFilter, before: string | undefined): Promise<AuditRow[]> {
  let query = db.selectFrom('audit_entries').selectAll().where('workspace_id', '=', workspace).orderBy('id', 'desc').limit(ROWS_AT_ONCE);
  if (before !== undefined) query = query.where('id', '<', before);
  if (targetId !== undefined) query = query.where('target_id', '=', targetId);
  else if (actorId !== undefined) query = query.where('actor_id', '=', actorId);
  else if (action !== undefined) query = query.where('action', '=', action);
  return query.execute();
}

function fits(row: AuditRow, { targetId, actorId, action }: AuditFilter): boolean {
  return (targetId === undefined || row.target_id === targetId) && (actorId === undefined || row.actor_id === actorId) && (action === undefined || row.action === action);
}

function toEntry(row: AuditRow): AuditEntry {
  return {
    entryId: row.id,
    actor: { kind: row.actor_kind, id: row.actor_id },
    action: row.action,
    targetId: row.target_id,
    outcome: row.outcome,
    address: row.address,
    callId: row.call_id,
    time: row.time,
  };
}
