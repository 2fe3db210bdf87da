import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { systemCall } from '../../../src/kernel/call.ts';
import { Clock } from '../../../src/kernel/clock.ts';
import { readCursor, writeCursor } from '../../../src/kernel/cursor.ts';
import { idFrom } from '../../../src/kernel/ids.ts';
import { job, type Received } from '../../../src/kernel/message.ts';
import type { EffectHandler } from '../../../src/kernel/module.ts';
import { Channels } from '../../../src/ports/channel.ts';
import { DeadLetters } from '../../../src/ports/dead-letters.ts';
import { Store } from '../../../src/ports/storage.ts';
import { portal, type Portal } from '../../portal/contract.ts';
import { sendRequested } from '../contract.ts';
import type { Attempt } from '../deliveries/delivery.ts';
import type { NotificationTables } from '../tables.ts';

const ErasePerson = z.object({
  /** Who was deleted. */
  personId: z.string(),
  /** Whose deliveries are still to be erased: hers, and those of persons that went up in her. */
  left: z.array(z.string()),
  /** Of the first of `left`, what is older than this is still to be erased; null for all. */
  after: z.string().nullable(),
});
type ErasePerson = z.infer<typeof ErasePerson>;
/** What notification knows of a deleted person, in pieces, since nobody knows how much it is. Notification's own. */
export const erasePerson = job('notification.erase-person', ErasePerson);

const DELIVERIES_AT_ONCE = 100;
const PERSONS_AT_ONCE = 50;
const CALL_MS = 5_000;

interface Piece {
  readonly deliveryIds: readonly string[];
  /** Where it goes on; null when nothing is left. */
  readonly next: ErasePerson | null;
}

/**
 * Erases a piece of what is left and asks for the next, until nothing is. Deliveries stay, for counting, without the
 * address and without the words of servers, which quote it; kept mails go, and so do requests to send in the error
 * queue, which carry the event's properties. Suppressions stay: they are her wish.
 * An effect, since the kept mails lie in another database; every step may be repeated.
 */
@injectable()
export class ErasureHandler implements EffectHandler<ErasePerson> {
  readonly #store: Store<NotificationTables>;
  readonly #channels: Channels;
  readonly #portal: Portal;
  readonly #deadLetters: DeadLetters;
  readonly #clock: Clock;

  constructor(
    @inject(Store) store: Store<NotificationTables>,
    @inject(Channels) channels: Channels,
    @inject(portal.id) portalContract: Portal,
    @inject(DeadLetters) deadLetters: DeadLetters,
    @inject(Clock) clock: Clock,
  ) {
    this.#store = store;
    this.#channels = channels;
    this.#portal = portalContract;
    this.#deadLetters = deadLetters;
    this.#clock = clock;
  }

  async perform({ id, workspace: of, payload, trace }: Received<ErasePerson>): Promise<undefined> {
    const workspace = of!;
    if (await this.#wasMerged(workspace, payload.personId)) return;
    if (payload.after === null) await this.#purgeRequests(workspace, payload.left.slice(0, PERSONS_AT_ONCE));
    const { deliveryIds, next } = await this.#piece(workspace, payload);
    // Before the rows: when the program ends in between, the piece is done once more.
    for (const { kept } of this.#channels.values()) await kept?.forget(workspace, deliveryIds);
    await this.#blank(workspace, deliveryIds);
    if (next === null) return;
    await this.#store.transaction((tx) => tx.publish(erasePerson, next, { workspace, id: idFrom('notification.erase-person', id), trace, always: true }));
  }

  /** One who went up in another is `gone` too, but her mails are now the other's. */
  async #wasMerged(workspace: string, personId: string): Promise<boolean> {
    const { merged } = await this.#portal.getRecipients({ personIds: [personId] }, systemCall('notification', workspace, this.#clock.now() + CALL_MS));
    return merged[personId] !== undefined;
  }

  async #purgeRequests(workspace: string, personIds: readonly string[]): Promise<void> {
    const persons = new Set(personIds);
    await this.#deadLetters.purge(sendRequested, workspace, ({ personId }) => personId !== undefined && persons.has(personId));
  }

  async #piece(workspace: string, { personId, left, after }: ErasePerson): Promise<Piece> {
    const deliveryIds: string[] = [];
    let from = after;
    for (const [i, person] of left.slice(0, PERSONS_AT_ONCE).entries()) {
      const limit = DELIVERIES_AT_ONCE - deliveryIds.length;
      const rows = await this.#deliveriesOf(workspace, person, from, limit);
      deliveryIds.push(...rows.map((row) => row.id));
      const last = rows.at(-1);
      if (rows.length === limit && last) return { deliveryIds, next: { personId, left: left.slice(i), after: writeCursor({ time: last.created_at, key: last.id }) } };
      from = null;
    }
    return { deliveryIds, next: left.length > PERSONS_AT_ONCE ? { personId, left: left.slice(PERSONS_AT_ONCE), after: null } : null };
  }

  #deliveriesOf(workspace: string, personId: string, after: string | null, limit: number): Promise<{ id: string; created_at: number }[]> {
    let query = this.#store.db.selectFrom('deliveries').select(['id', 'created_at']).where('workspace', '=', workspace).where('person_id', '=', personId);
    if (after !== null) {
      const { time, key } = readCursor(after);
      query = query.where((eb) => eb(eb.refTuple('created_at', 'id'), '<', eb.tuple(time, key)));
    }
    return query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute();
  }

  async #blank(workspace: string, deliveryIds: readonly string[]): Promise<void> {
    if (deliveryIds.length === 0) return;
    await this.#store.transaction(async (tx) => {
      await tx.db.deleteFrom('test_mails').where('workspace', '=', workspace).where('delivery_id', 'in', deliveryIds).execute();
      const rows = await tx.db.selectFrom('deliveries').select(['id', 'attempts']).where('workspace', '=', workspace).where('id', 'in', deliveryIds).execute();
      for (const { id, attempts } of rows) {
        await tx.db.updateTable('deliveries').set({ to_address: null, attempts: withoutWords(attempts) }).where('workspace', '=', workspace).where('id', '=', id).execute();
      }
    });
  }
}

function withoutWords(attempts: string): string {
  return JSON.stringify((JSON.parse(attempts) as Attempt[]).map((attempt) => ({ ...attempt, response: '' })));
}
