import { inject, injectable } from 'inversify';
import type { Kysely } from 'kysely';
import { Fault } from '../../../src/kernel/fault.ts';
import { Store } from '../../../src/ports/storage.ts';
import type { Delivery, DeliveryState } from '../contract.ts';
import { type Place, readCursor, writeCursor } from '../../../src/kernel/cursor.ts';
import type { NotificationTables } from '../tables.ts';
import { deliveryOf, shown } from './delivery-rows.ts';
import { findDelivery } from './delivery-statements.ts';

export interface DeliveryFilter {
  readonly personId?: string | undefined;
  readonly sourceId?: string | undefined;
  readonly state?: DeliveryState | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
}

type Db = Kysely<NotificationTables>;
type Filter = Omit<DeliveryFilter, 'after' | 'limit'>;
type Candidate = Pick<NotificationTables['deliveries'], 'id' | 'created_at' | 'person_id' | 'source_id' | 'state'>;

/** Read in one go, about a millisecond each; so many goes in one call. */
const PIECE_ROWS = 500;
const MOST_PIECES = 60;

export interface Counts {
  audience: number;
  sent: number;
  pending: number;
  uncertain: number;
  suppressed: Record<string, number>;
  failed: Record<string, number>;
}

/** Reads deliveries for people and other modules; always within one workspace. */
@injectable()
export class DeliveryQueries {
  readonly #store: Store<NotificationTables>;

  constructor(@inject(Store) store: Store<NotificationTables>) {
    this.#store = store;
  }

  /** Fault `not_found` with reason `delivery_not_found`. */
  async find(workspace: string, id: string): Promise<Delivery> {
    const [row] = await this.#store.run(findDelivery, { workspace, id });
    if (row === undefined) throw new Fault('not_found', 'There is no such delivery in this workspace.', { reason: 'delivery_not_found' });
    return shown(deliveryOf(row));
  }

  /** Newest first. A page may be short, even empty, and have a next one. */
  async list(workspace: string, { after, limit, ...filter }: DeliveryFilter): Promise<{ items: Delivery[]; next: string | null }> {
    const from = after === undefined ? null : readCursor(after);
    const { db } = this.#store.lists();
    const { ids, next } = await find(db, workspace, filter, from, limit);
    if (ids.length === 0) return { items: [], next: cursorOf(next) };
    const rows = await db.selectFrom('deliveries').selectAll().where('workspace', '=', workspace).where('id', 'in', ids).execute();
    // Put in order here: asked for it, SQLite would walk past all deliveries of the workspace. Filtered once more, since they may have moved on meanwhile.
    const found = new Map(rows.filter((row) => matches(row, filter)).map((row) => [row.id, row]));
    const items = ids.flatMap((id) => found.get(id) ?? []);
    return { items: items.map((row) => shown(deliveryOf(row))), next: cursorOf(next) };
  }

  /** All zero for a source that nothing was asked for. One statement, so that it adds up at any moment. */
  async count(workspace: string, sourceId: string): Promise<Counts> {
    const rows = await this.#store
      .lists()
      .db.selectFrom('delivery_counts')
      .select(['bucket', 'reason', (eb) => eb.fn.sum<number>('amount').as('amount')])
      .where('workspace', '=', workspace)
      .where('source_id', '=', sourceId)
      .groupBy(['bucket', 'reason'])
      .execute();
    const counts: Counts = { audience: 0, sent: 0, pending: 0, uncertain: 0, suppressed: {}, failed: {} };
    for (const { bucket, reason, amount } of rows) {
      if (amount === 0) continue;
      if (bucket === 'suppressed' || bucket === 'failed') counts[bucket][reason] = amount;
      else counts[bucket] = amount;
    }
    const ended = counts.sent + counts.uncertain + total(counts.suppressed) + total(counts.failed);
    return { ...counts, pending: counts.audience - ended };
  }
}

/**
 * One filter is answered by its index, the narrowest of those given; the others are looked at row by row, a piece at
 * a time, with turns for the event loop in between. `next` is the last that was looked at, null when there is no more.
 */
async function find(db: Db, workspace: string, filter: Filter, after: Place | null, limit: number): Promise<{ ids: string[]; next: Place | null }> {
  const isNarrow = [filter.personId, filter.sourceId, filter.state].filter((given) => given !== undefined).length < 2;
  const pieceRows = isNarrow ? limit : PIECE_ROWS;
  const ids: string[] = [];
  let at = after;
  for (let taken = 0; taken < MOST_PIECES; taken++) {
    if (taken > 0) await new Promise((resolve) => setImmediate(resolve));
    const rows = await piece(db, workspace, filter, at, pieceRows + 1);
    for (const [i, row] of rows.slice(0, pieceRows).entries()) {
      at = { time: row.created_at, key: row.id };
      if (!matches(row, filter)) continue;
      ids.push(row.id);
      if (ids.length === limit) return { ids, next: i + 1 < rows.length ? at : null };
    }
    if (rows.length <= pieceRows) return { ids, next: null };
  }
  return { ids, next: at };
}

function piece(db: Db, workspace: string, { personId, sourceId, state }: Filter, after: Place | null, limit: number): Promise<Candidate[]> {
  let query = db.selectFrom('deliveries').select(['id', 'created_at', 'person_id', 'source_id', 'state']).where('workspace', '=', workspace);
  if (personId !== undefined) query = query.where('person_id', '=', personId);
  else if (sourceId !== undefined) query = query.where('source_id', '=', sourceId);
  else if (state !== undefined) query = query.where('state', '=', state);
  if (after !== null) query = query.where((eb) => eb(eb.refTuple('created_at', 'id'), '<', eb.tuple(after.time, after.key)));
  return query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute();
}

function matches(row: Candidate, { personId, sourceId, state }: Filter): boolean {
  return (personId === undefined || row.person_id === personId) && (sourceId === undefined || row.source_id === sourceId) && (state === undefined || row.state === state);
}

function cursorOf(place: Place | null): string | null {
  return place === null ? null : writeCursor(place);
}

function total(byReason: Readonly<Record<string, number>>): number {
  return Object.values(byReason).reduce((sum, amount) => sum + amount, 0);
}
