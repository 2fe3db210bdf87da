import { inject, injectable } from 'inversify';
import type { Trace } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Counter, Metrics } from '../../../src/kernel/telemetry.ts';
import { type Reader, Store, type Transaction } from '../../../src/ports/storage.ts';
import { suppressionKey } from '../compose/address.ts';
import { deliveryUpdated } from '../contract.ts';
import { personSubject } from '../suppressions/subject.ts';
import type { StopReason } from '../suppressions/suppressions.ts';
import type { NotificationTables } from '../tables.ts';
import { deliveryOf, rowOf } from './delivery-rows.ts';
import { addToCount, dropTestMail, findDelivery, findSuppression, insertDelivery, moveDelivery } from './delivery-statements.ts';
import { isAtRest, type SendJob, type StoredDelivery } from './delivery.ts';

type Tx = Transaction<NotificationTables>;
type CountRow = NotificationTables['delivery_counts'];

/** Writers of one source are spread over so many rows. */
const SHARDS = 4;

/** The record of every delivery, with the counts and the events that go with each change, in one transaction. */
@injectable()
export class DeliveryLog {
  readonly #store: Store<NotificationTables>;
  readonly #outcomes: Counter;

  constructor(@inject(Store) store: Store<NotificationTables>, @inject(Metrics) metrics: Metrics) {
    this.#store = store;
    this.#outcomes = metrics.counter('deliveries_total', 'Deliveries that came to rest, by outcome.', ['outcome']);
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
  async begin(delivery: StoredDelivery & { readonly to: string }, before: StoredDelivery | null, job: Pick<SendJob, 'personId' | 'trace'>): Promise<StoredDelivery> {
    const sending: StoredDelivery = { ...delivery, state: 'sending' };
    const decided = await this.#store.transaction(async (tx) => {
      // Most go: the look at the list and the row are on their way to the database together.
      const [reason] = await Promise.all([suppressedFor(tx, delivery, job.personId), write(tx, sending, before, job.trace)]);
      if (reason === null) return sending;
      const suppressed: StoredDelivery = { ...delivery, state: 'suppressed', reason };
      await write(tx, suppressed, sending, job.trace);
      return suppressed;
    });
    this.#count(decided);
    return decided;
  }

  /**
   * Why a delivery that was decided on must not go after all, by what other processes have added to the list since;
   * null when it may, and where no other process can.
   */
  async stoppedElsewhere(begun: StoredDelivery & { readonly to: string }, askedFor: string): Promise<StopReason | null> {
    return this.#store.capabilities.shared ? suppressedFor(this.#store, begun, askedFor) : null;
  }

  /** Writes down how the delivery stands now. Fault `conflict` when it has changed since `before`. */
  async record(delivery: StoredDelivery, before: StoredDelivery | null, trace: Trace): Promise<StoredDelivery> {
    await this.#store.transaction((tx) => write(tx, delivery, before, trace));
    this.#count(delivery);
    return delivery;
  }

  #count({ state }: StoredDelivery): void {
    if (isAtRest(state)) this.#outcomes.add(1, { outcome: state });
  }
}

/** `askedFor` is another one than the delivery's when that one has been merged since: what either has said counts. */
async function suppressedFor(tx: Reader<NotificationTables>, { workspace, channel, to, personId, source }: StoredDelivery & { readonly to: string }, askedFor: string): Promise<StopReason | null> {
  const address = suppressionKey(to);
  // A test goes to an address that staff gave, whatever the person whose data it shows has said.
  const [person, asked] = source.kind === 'test' ? [address, address] : [personSubject(personId), personSubject(askedFor)];
  const [row] = await tx.run(findSuppression, { workspace, channel, address, person, asked });
  if (row === undefined) return null;
  return row.reason === 'unsubscribed' ? 'unsubscribed' : 'suppression_list';
}

async function write(tx: Tx, delivery: StoredDelivery, before: StoredDelivery | null, trace: Trace): Promise<void> {
  const row = rowOf(delivery);
  const written = before === null ? await tx.run(insertDelivery, row) : await tx.run(moveDelivery, { ...row, from: before.state });
  if (written.length === 0) throw new Fault('conflict', 'The delivery has changed meanwhile.', { reason: 'delivery_changed' });
  for (const [bucket, reason, amount] of countChanges(delivery, before)) {
    await tx.run(addToCount, { workspace: delivery.workspace, source_id: delivery.source.id, shard: shardOf(delivery.deliveryId), bucket, reason, amount });
  }
  if (isAtRest(delivery.state)) await announce(tx, delivery, trace);
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
