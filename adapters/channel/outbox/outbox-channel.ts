import { sql } from 'kysely';
import type { Clock } from '../../../src/kernel/clock.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import type { Channel, ChannelMessage, ChannelResult, KeptMail, KeptMails } from '../../../src/ports/channel.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { dropOldest, forget, keep, outboxMigrations, type OutboxTables } from './tables.ts';

/** How many mails may come in before the oldest are looked for: the bound is met to within this. */
const MAILS_BETWEEN_DROPS = 200;
const HEAD_BYTES = 16_384;

/** Keeps mails instead of sending them. Accepted means: on disk. */
export class OutboxChannel implements Channel {
  readonly capacity = 256;
  readonly kept: KeptMails = {
    list: (workspace, page) => this.#list(workspace, page),
    read: (workspace, deliveryId) => this.#read(workspace, deliveryId),
    forget: (workspace, deliveryIds) => this.#forget(workspace, deliveryIds),
  };
  readonly #keepMails: number;
  readonly #clock: Clock;
  readonly #life: StartStop;
  #storage: Storage<OutboxTables> | undefined;
  #sinceDrop = new Map<string, number>();

  constructor(settings: { readonly keepMails: number }, open: () => Storage<OutboxTables>, clock: Clock) {
    this.#keepMails = settings.keepMails;
    this.#clock = clock;
    this.#life = new StartStop(
      async () => {
        this.#storage = open();
        await this.#storage.start();
        await this.#storage.migrate(outboxMigrations);
      },
      (deadlineMs) => this.#storage?.stop(deadlineMs),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  async send(message: ChannelMessage): Promise<ChannelResult> {
    const { workspace, deliveryId, raw } = message;
    if (this.#life.state !== 'running') return { kind: 'deferred', response: 'The outbox is not open.', reason: 'stopped' };
    const drop = this.#dropIsDue(workspace);
    try {
      await this.#storage!.transaction(async (tx) => {
        await tx.run(keep, { id: newId(), workspace, delivery_id: deliveryId, stored_at: this.#clock.now(), bytes: raw.length, raw });
        if (drop) await tx.run(dropOldest, { workspace, keep: this.#keepMails });
      });
    } catch {
      return { kind: 'deferred', response: 'The outbox could not be written to.', reason: 'outbox_unavailable' };
    }
    return { kind: 'accepted', response: 'Kept in the outbox.', reason: 'kept' };
  }

  async check(): Promise<{ ok: boolean; detail: string }> {
    return { ok: true, detail: 'mails are kept here for reading; none leaves the house' };
  }

  /** Counted in memory: after a restart the first mail of each workspace looks once more. */
  #dropIsDue(workspace: string): boolean {
    const count = this.#sinceDrop.get(workspace);
    const due = count === undefined || count + 1 >= Math.min(MAILS_BETWEEN_DROPS, this.#keepMails);
    if (this.#sinceDrop.size > 10_000) this.#sinceDrop.clear();
    this.#sinceDrop.set(workspace, due ? 0 : count + 1);
    return due;
  }

  async #list(workspace: string, { after, limit }: { readonly after?: string; readonly limit: number }): Promise<{ mails: KeptMail[]; next: string | null }> {
    let query = this.#storage!.db.selectFrom('mails').select(['id', 'delivery_id', 'stored_at', 'bytes', sql<Uint8Array>`substr(raw, 1, ${sql.lit(HEAD_BYTES)})`.as('raw')]).where('workspace', '=', workspace);
    if (after !== undefined) query = query.where('id', '<', after);
    const rows = await query.orderBy('id', 'desc').limit(limit + 1).execute();
    const page = rows.slice(0, limit);
    return { mails: page.map(mailOf), next: rows.length > limit ? page.at(-1)!.id : null };
  }

  async #read(workspace: string, deliveryId: string): Promise<KeptMail | null> {
    const row = await this.#storage!.db.selectFrom('mails').selectAll().where('workspace', '=', workspace).where('delivery_id', '=', deliveryId).executeTakeFirst();
    return row === undefined ? null : mailOf(row);
  }

  async #forget(workspace: string, deliveryIds: readonly string[]): Promise<void> {
    // One by one: a mail may be of many pages, and the event loop gets its turn between statements.
    await this.#storage!.transaction(async (tx) => {
      for (const id of deliveryIds) await tx.run(forget, { workspace, delivery_id: id });
    });
  }
}

function mailOf(row: Pick<OutboxTables['mails'], 'delivery_id' | 'stored_at' | 'bytes' | 'raw'>): KeptMail {
  return { deliveryId: row.delivery_id, storedAt: row.stored_at, bytes: row.bytes, raw: row.raw };
}
