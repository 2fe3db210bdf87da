import { inject, injectable } from 'inversify';
import type { Trace } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Counter, Metrics } from '../../../src/kernel/telemetry.ts';
import { type Fared, Together } from '../../../src/kernel/together.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import { deliveryUpdated } from '../contract.ts';
import type { StopReason } from '../suppressions/suppressions.ts';
import type { NotificationTables } from '../tables.ts';
import { deliveryOf, rowOf } from './delivery-rows.ts';
import { addToCount, dropTestMail, findDelivery, insertDelivery, moveDelivery } from './delivery-statements.ts';
import { isAtRest, type SendJob, type StoredDelivery } from './delivery.ts';
import { type Going, stopsOf } from './stops.ts';

type Tx = Transaction<NotificationTables>;
type CountRow = NotificationTables['delivery_counts'];

/** Writers of one source are spread over so many rows. */
const SHARDS = 4;

/** Changes that are written in one transaction. */
const WRITTEN_AT_ONCE = 64;

interface Change {
  readonly delivery: StoredDelivery;
  /** How it stands so far, null when it is new. */
  readonly before: StoredDelivery | null;
  readonly trace: Trace;
}

/** What to write down; one that is `going` only when nothing in the list is against it. */
interface Wanted extends Change {
  readonly going?: Going;
}

/**
 * The record of every delivery, with the counts and the events that go with each change, in one transaction. Changes that are
 * asked for while others are being written are written together, each as if it were alone.
 */
@injectable()
export class DeliveryLog {
  readonly #store: Store<NotificationTables>;
  readonly #outcomes: Counter;
  readonly #changes: Together<Wanted, StoredDelivery>;
  readonly #lookups: Together<Going, StopReason | null>;

  constructor(@inject(Store) store: Store<NotificationTables>, @inject(Metrics) metrics: Metrics) {
    this.#store = store;
    this.#outcomes = metrics.counter('deliveries_total', 'Deliveries that came to rest, by outcome.', ['outcome']);
    this.#changes = new Together(WRITTEN_AT_ONCE, (all) => this.#write(all));
    this.#lookups = new Together(WRITTEN_AT_ONCE, async (all) => (await stopsOf(store, all)).map((value) => ({ value })));
  }

  async find(workspace: string, id: string): Promise<StoredDelivery | null> {
    const [row] = await this.#store.run(findDelivery, { workspace, id });
    return row === undefined ? null : deliveryOf(row);
  }

  /**
   * Decides and writes down, in one transaction, that the delivery goes to its channel now, or that it is suppressed.
   * `before` is how it stands so far, null when it is new. Answers how it stands then. Fault `conflict` when it has
   * changed meanwhile.
   */
  begin(delivery: StoredDelivery & { readonly to: string }, before: StoredDelivery | null, { personId, trace }: Pick<SendJob, 'personId' | 'trace'>): Promise<StoredDelivery> {
    return this.#changes.ask({ delivery: { ...delivery, state: 'sending' }, before, trace, going: { delivery, askedFor: personId } });
  }

  /**
   * Why a delivery that was decided on must not go after all, by what other processes have added to the list since;
   * null when it may, and where no other process can.
   */
  async stoppedElsewhere(begun: StoredDelivery & { readonly to: string }, askedFor: string): Promise<StopReason | null> {
    return this.#store.capabilities.shared ? this.#lookups.ask({ delivery: begun, askedFor }) : null;
  }

  /** Writes down how the delivery stands now. Fault `conflict` when it has changed since `before`. */
  record(delivery: StoredDelivery, before: StoredDelivery | null, trace: Trace): Promise<StoredDelivery> {
    return this.#changes.ask({ delivery, before, trace });
  }

  async #write(all: readonly Wanted[]): Promise<Fared<StoredDelivery>[]> {
    const written = await this.#store.transaction(async (tx) => {
      // Most go: the look at the list and the rows are on their way to the database together.
      const [stops, made] = await Promise.all([stopsOf(tx, all.flatMap(({ going }) => going ?? [])), write(tx, all)]);
      const suppressed = all.filter(({ going }) => going !== undefined).flatMap(({ going, ...change }, i): Change[] => {
        const reason = stops[i]!;
        return reason === null || !made.has(change.delivery) ? [] : [{ ...change, delivery: { ...going!.delivery, state: 'suppressed', reason }, before: change.delivery }];
      });
      await write(tx, suppressed);
      const instead = new Map(suppressed.map(({ delivery, before }) => [before, delivery]));
      return all.map(({ delivery }) => (made.has(delivery) ? (instead.get(delivery) ?? delivery) : null));
    });
    for (const delivery of written) if (delivery !== null && isAtRest(delivery.state)) this.#outcomes.add(1, { outcome: delivery.state });
    return written.map((value) => (value === null ? { fault: new Fault('conflict', 'The delivery has changed meanwhile.', { reason: 'delivery_changed' }) } : { value }));
  }
}

/** Answers those that were as the caller took them to be; of the others nothing is written. */
async function write(tx: Tx, all: readonly Change[]): Promise<ReadonlySet<StoredDelivery>> {
  const isNew = ({ before }: Change): boolean => before === null;
  const rows = await Promise.all([
    tx.runMany(insertDelivery, all.filter(isNew).map(({ delivery }) => rowOf(delivery))),
    ...all.filter((change) => !isNew(change)).map(({ delivery, before }) => tx.run(moveDelivery, { ...rowOf(delivery), from: before!.state, written_at: before!.updatedAt })),
  ]);
  const keys = new Set(rows.flat().map(({ workspace, id }) => `${workspace} ${id}`));
  // One that is asked for twice is written once.
  const made = all.filter(({ delivery: { workspace, deliveryId } }) => keys.delete(`${workspace} ${deliveryId}`));
  await tx.runMany(addToCount, countsOf(made));
  for (const { delivery, trace } of made) if (isAtRest(delivery.state)) await announce(tx, delivery, trace);
  return new Set(made.map(({ delivery }) => delivery));
}

/** What the changes add to the counts, each count once. */
function countsOf(changes: readonly Change[]): CountRow[] {
  const counts = new Map<string, CountRow>();
  for (const { delivery, before } of changes) {
    const { workspace, source, deliveryId } = delivery;
    for (const [bucket, reason, amount] of countChanges(delivery, before)) {
      const row = { workspace, source_id: source.id, shard: shardOf(deliveryId), bucket, reason, amount };
      const key = JSON.stringify([workspace, source.id, row.shard, bucket, reason]);
      counts.set(key, { ...row, amount: amount + (counts.get(key)?.amount ?? 0) });
    }
  }
  return [...counts.values()];
}

function countChanges(delivery: StoredDelivery, before: StoredDelivery | null): [CountRow['bucket'], string, number][] {
  const changes: [CountRow['bucket'], string, number][] = [];
  if (before === null) changes.push(['audience', '', 1]);
  else if (isAtRest(before.state)) changes.push([...bucketOf(before), -1]);
  if (isAtRest(delivery.state)) changes.push([...bucketOf(delivery), 1]);
  return changes;
}

function bucketOf({ state, reason }: StoredDelivery): [CountRow['bucket'], string] {
  const bucket = state as Exclude<StoredDelivery['state'], 'pending' | 'sending'>;
  return [bucket, bucket === 'suppressed' || bucket === 'failed' ? (reason ?? '') : ''];
}

async function announce(tx: Tx, delivery: StoredDelivery, trace: Trace): Promise<void> {
  const { deliveryId, personId, templateId, channel, state, reason, source, workspace, updatedAt: time } = delivery;
  if (source.kind === 'test') await tx.run(dropTestMail, { workspace, delivery_id: deliveryId });
  await tx.publish(deliveryUpdated, { deliveryId, personId, templateId, channel, state, reason, source, time }, { workspace, trace, always: true });
}

function shardOf(id: string): number {
  return id.charCodeAt(id.length - 1) % SHARDS;
}
