import type { Clock, EpochMs, Timer } from '../kernel/clock.ts';
import { Fault } from '../kernel/fault.ts';
import { type Bit, type Storage, statement, type StorageTransaction } from '../ports/storage.ts';
import type { FabricTables } from './tables.ts';

type Seen = { token: number; beat: number };

/** A holder that has not been heard of for so long has lost the lease. */
export const SILENT_MS = 3_000;
/** On a trip to the bus that takes longer, it says so often that it is alive. */
export const BEAT_MS = 1_000;
/** Beyond the deadlines of every bus: whoever is still away then may be so for ever. */
const LONGEST_TRIP_MS = 60_000;

const read = statement<FabricTables, object>()((db) => db.selectFrom('fabric_leases').select(['held', 'token', 'beat']).where('name', '=', 'outbox'));
const first = statement<FabricTables, object>()((db) => db.insertInto('fabric_leases').values({ name: 'outbox', held: 1, token: 1, beat: 0 }).onConflict((c) => c.doNothing()).returning('token'));
const takeOver = statement<FabricTables, Seen>()((db, p) =>
  db
    .updateTable('fabric_leases')
    .set((eb) => ({ held: 1, token: eb('token', '+', 1), beat: 0 }))
    .where('name', '=', 'outbox')
    .where('token', '=', p('token'))
    .where('beat', '=', p('beat'))
    .returning('token'),
);
const keep = statement<FabricTables, { token: number }>()((db, p) =>
  db
    .updateTable('fabric_leases')
    .set((eb) => ({
      beat: eb('beat', '+', 1),
      // In order, thus by the index: without one PostgreSQL reads every page whose rows have gone.
      held: eb.case().when(eb.selectFrom('fabric_outbox').select('seq').orderBy('seq').limit(1), 'is', null).then(eb.lit<Bit>(0)).else(eb.lit<Bit>(1)).end(),
    }))
    .where('name', '=', 'outbox')
    .where('token', '=', p('token'))
    .returning('held'),
);
const beat = statement<FabricTables, { token: number }>()((db, p) => db.updateTable('fabric_leases').set((eb) => ({ beat: eb('beat', '+', 1) })).where('name', '=', 'outbox').where('token', '=', p('token')));
const giveBack = statement<FabricTables, { token: number }>()((db, p) => db.updateTable('fabric_leases').set({ held: 0 }).where('name', '=', 'outbox').where('token', '=', p('token')));

/**
 * Which of the processes that share an outbox carries from it. Whoever has committed a message and finds nobody carrying takes the lease and
 * keeps it until the outbox is empty; then it is free, so that messages of every process leave at once and in order.
 *
 * Silence is measured by the clock of whoever looks, so that the clocks of two machines need not agree. Each holder has a
 * token of its own, which what it does afterwards asks for.
 */
export class OutboxLease {
  readonly #storage: Storage<FabricTables>;
  readonly #clock: Clock;
  #token: number | undefined;
  #seen: (Seen & { readonly at: EpochMs }) | undefined;
  #pulse: Timer | undefined;

  constructor(storage: Storage<FabricTables>, clock: Clock) {
    this.#storage = storage;
    this.#clock = clock;
  }

  /** Whether this process carries, as far as it knows. */
  get isHeld(): boolean {
    return this.#token !== undefined;
  }

  /** False while another process carries, which then carries what this one has committed, too. */
  async take(): Promise<boolean> {
    if (this.#token !== undefined) return true;
    const [row] = await this.#storage.run(read, {});
    if (row !== undefined && row.held === 1 && !this.#isSilent(row)) return false;
    const [taken] = await this.#storage.transaction((tx) => (row === undefined ? tx.run(first, {}) : tx.run(takeOver, { token: row.token, beat: row.beat })));
    this.#token = taken?.token;
    return taken !== undefined;
  }

  /** Says that the holder is alive; gives the lease back when the outbox is empty by then. Answers whether it was. Fault `conflict`/`lease_lost`. */
  async keep(tx: StorageTransaction<FabricTables>): Promise<boolean> {
    const [row] = this.#token === undefined ? [] : await tx.run(keep, { token: this.#token });
    if (row?.held === 1) return false;
    this.#token = undefined;
    if (row === undefined) throw new Fault('conflict', 'Another process carries from this outbox now.', { reason: 'lease_lost' });
    return true;
  }

  /** Says that the holder is alive for as long as the trip takes, so that nobody else carries the same meanwhile. */
  async during(trip: () => Promise<void>): Promise<void> {
    this.#beatUntil(this.#clock.now() + LONGEST_TRIP_MS);
    try {
      await trip();
    } finally {
      this.#pulse?.cancel();
    }
  }

  /** Whatever is left: before a stop, and where this process reaches no bus and another may. Kept where the storage fails. */
  async giveBack(): Promise<void> {
    this.#pulse?.cancel();
    const token = this.#token;
    if (token === undefined) return;
    await this.#storage.transaction((tx) => tx.run(giveBack, { token }));
    this.#token = undefined;
  }

  #beatUntil(end: EpochMs): void {
    if (this.#clock.now() + BEAT_MS > end) return;
    this.#pulse = this.#clock.after(BEAT_MS, () => {
      const token = this.#token;
      if (token !== undefined) void this.#storage.transaction((tx) => tx.run(beat, { token })).catch(() => {});
      this.#beatUntil(end);
    });
  }

  #isSilent({ token, beat }: Seen): boolean {
    const now = this.#clock.now();
    // A clock that was set back counts anew.
    if (this.#seen?.token !== token || this.#seen.beat !== beat || now < this.#seen.at) this.#seen = { token, beat, at: now };
    return now - this.#seen.at >= SILENT_MS;
  }
}
