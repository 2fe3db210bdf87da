import { inject, injectable } from 'inversify';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Store } from '../../../src/ports/storage.ts';
import { suppressionKey } from '../compose/address.ts';
import { unsubscribed } from '../contract.ts';
import { readCursor, writeCursor } from '../../../src/kernel/cursor.ts';
import type { NotificationTables } from '../tables.ts';
import { personSubject } from './subject.ts';

interface SuppressedAddress {
  readonly address: string;
  readonly channel: string;
  readonly reason: string;
  readonly createdAt: number;
}

/** An opt-out reaches the addresses that the person's last mails went to; one mail may be older than a new address. */
const LAST_MAILS = 20;
interface Recent {
  readonly time: EpochMs;
  readonly reason: StopReason;
}

const RECENT_MS = 10_000;
const MOST_RECENT = 10_000;

/** The reasons of deliveries that were suppressed for what is in the list. */
export type StopReason = 'unsubscribed' | 'suppression_list';

/** Who gets nothing more. Every send consults this list in the transaction in which it is decided. */
@injectable()
export class Suppressions {
  readonly #store: Store<NotificationTables>;
  readonly #clock: Clock;
  /** Who was suppressed in the last moments, in the order of time: for mails that were decided on just before. */
  readonly #recent = new Map<string, Recent>();

  constructor(@inject(Store) store: Store<NotificationTables>, @inject(Clock) clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Nothing more goes to the address from when this is asked. Repeating it changes nothing, the reason neither. */
  async suppress(workspace: string, { address, channel, reason }: Omit<SuppressedAddress, 'createdAt'>): Promise<void> {
    const subject = suppressionKey(address);
    this.#noteRecent(recentKey(workspace, channel, subject), 'suppression_list');
    await this.#store.transaction((tx) =>
      tx.db
        .insertInto('suppressions')
        .values({ workspace, channel, subject, kind: 'address', address: subject, reason, created_at: this.#clock.now() })
        .onConflict((c) => c.doNothing())
        .execute(),
    );
  }

  /** Lifts what is on an address. A person's own opt-out stays: only they can say that they want mails again. */
  async unsuppress(workspace: string, { address, channel }: Pick<SuppressedAddress, 'address' | 'channel'>): Promise<void> {
    const subject = suppressionKey(address);
    await this.#store.transaction((tx) => tx.db.deleteFrom('suppressions').where('workspace', '=', workspace).where('channel', '=', channel).where('subject', '=', subject).where('kind', '=', 'address').execute());
    this.#recent.delete(recentKey(workspace, channel, subject));
  }

  /** The person and their addresses, at once. Publishes `unsubscribed` the first time. */
  async unsubscribe(workspace: string, personId: string, channel: string): Promise<void> {
    this.#noteRecent(recentKey(workspace, channel, personSubject(personId)), 'unsubscribed');
    const addresses = await this.#store.transaction(async (tx) => {
      const mails = await tx.db
        .selectFrom('deliveries')
        .select('to_address')
        .where('workspace', '=', workspace)
        .where('person_id', '=', personId)
        .where('source_kind', '!=', 'test')
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(LAST_MAILS)
        .execute();
      const addresses = new Set(mails.flatMap(({ to_address: to }) => (to === null ? [] : [suppressionKey(to)])));
      const common = { workspace, channel, reason: 'unsubscribed', created_at: this.#clock.now() };
      const person = { ...common, subject: personSubject(personId), kind: 'person' as const, address: [...addresses][0] ?? null };
      const rows = [person, ...[...addresses].map((address) => ({ ...common, subject: address, kind: 'address' as const, address }))];
      const added = await tx.db.insertInto('suppressions').values(rows).onConflict((c) => c.doNothing()).returning('kind').execute();
      if (added.some(({ kind }) => kind === 'person')) await tx.publish(unsubscribed, { personId, channel, time: common.created_at }, { workspace, always: true });
      return addresses;
    });
    for (const address of addresses) this.#noteRecent(recentKey(workspace, channel, address), 'unsubscribed');
  }

  /**
   * Why a mail that was decided on must not go after all; null when it may. Knows what was suppressed by this
   * process within seconds; all that is older, or of another process, is in the list.
   */
  justSuppressed(workspace: string, channel: string, { address, personIds }: { readonly address: string; readonly personIds: readonly string[] }): StopReason | null {
    if (this.#recent.size === 0) return null;
    for (const subject of [...personIds.map(personSubject), suppressionKey(address)]) {
      const found = this.#recent.get(recentKey(workspace, channel, subject));
      if (found !== undefined) return found.reason;
    }
    return null;
  }

  #noteRecent(key: string, reason: StopReason): void {
    const now = this.#clock.now();
    for (const [old, { time }] of this.#recent) {
      if (time > now - RECENT_MS && this.#recent.size < MOST_RECENT) break;
      this.#recent.delete(old);
    }
    this.#recent.delete(key);
    this.#recent.set(key, { time: now, reason });
  }

  /** Newest first. */
  async list(workspace: string, { after, limit }: { readonly after?: string | undefined; readonly limit: number }): Promise<{ items: SuppressedAddress[]; next: string | null }> {
    let query = this.#store.db.selectFrom('suppressions').select(['subject', 'channel', 'reason', 'created_at']).where('workspace', '=', workspace).where('kind', '=', 'address');
    if (after !== undefined) {
      const { time, key } = readCursor(after);
      const [channel = '', subject = ''] = split(key);
      query = query.where((eb) => eb(eb.refTuple('created_at', 'channel', 'subject'), '<', eb.tuple(time, channel, subject)));
    }
    const rows = await query.orderBy('created_at', 'desc').orderBy('channel', 'desc').orderBy('subject', 'desc').limit(limit + 1).execute();
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return {
      items: page.map((row) => ({ address: row.subject, channel: row.channel, reason: row.reason, createdAt: row.created_at })),
      next: rows.length > limit && last ? writeCursor({ time: last.created_at, key: `${last.channel} ${last.subject}` }) : null,
    };
  }
}

function recentKey(workspace: string, channel: string, subject: string): string {
  return `${workspace} ${channel} ${subject}`;
}

/** At the first space: no channel's name has one. */
function split(key: string): string[] {
  const at = key.indexOf(' ');
  return [key.slice(0, at), key.slice(at + 1)];
}
