import { inject, injectable } from 'inversify';
import { Fault } from '../../../src/kernel/fault.ts';
import { Store } from '../../../src/ports/storage.ts';
import type { Delivery, DeliveryState } from '../contract.ts';
import { readCursor, writeCursor } from '../cursor.ts';
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

  /** Newest first. */
  async list(workspace: string, { personId, sourceId, state, after, limit }: DeliveryFilter): Promise<{ items: Delivery[]; next: string | null }> {
    let query = this.#store.db.selectFrom('deliveries').selectAll().where('workspace', '=', workspace);
    if (personId !== undefined) query = query.where('person_id', '=', personId);
    if (sourceId !== undefined) query = query.where('source_id', '=', sourceId);
    if (state !== undefined) query = query.where('state', '=', state);
    if (after !== undefined) {
      const { time, key } = readCursor(after);
      query = query.where((eb) => eb(eb.refTuple('created_at', 'id'), '<', eb.tuple(time, key)));
    }
    const rows = await query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit + 1).execute();
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return { items: page.map((row) => shown(deliveryOf(row))), next: rows.length > limit && last ? writeCursor({ time: last.created_at, key: last.id }) : null };
  }

  /** All zero for a source that nothing was asked for. One statement, so that it adds up at any moment. */
  async count(workspace: string, sourceId: string): Promise<Counts> {
    const rows = await this.#store.db
      .selectFrom('delivery_counts')
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

function total(byReason: Readonly<Record<string, number>>): number {
  return Object.values(byReason).reduce((sum, amount) => sum + amount, 0);
}
