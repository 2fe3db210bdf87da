import { setTimeout as pause } from 'node:timers/promises';
import { Fault, toFault } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Migration, Storage, StoredRow, TableShape } from '../ports/storage.ts';
import type { MovableStorage } from './movable-storage.ts';
import { Changes } from './storage-changes.ts';
import { compareSides, type Side, sideOf, type TableComparison } from './storage-compare.ts';
import { clear, isEmpty } from './storage-copy.ts';
import { commonTables, requireMigrated } from './storage-tables.ts';

const BATCH_ROWS = 500;
const LONGEST_MS = 60_000;
/** Transactions are held back for no longer; what is not done by then is tried again later. */
const HOLD_MS = 1_000;
const TRIES = 20;
/** So few changes are left when transactions are held back. */
const FEW = 200;
/** How often the side that counts is asked for what has changed there, when nothing had. */
const LOOK_MS = 250;
/** And when the other one fails. */
const RETRY_MS = 2_000;

/** Remembers over restarts. What it was told last is safely on disk when it resolves. */
export interface LiveMoveLedger {
  /** The old side counts, and what the new one holds is worth nothing. */
  begin(): Promise<void>;
  /** The new side counts, and the old one follows. */
  switched(): Promise<void>;
  /** The old side counts again. */
  back(): Promise<void>;
  /** The new side counts, and the old one is let go. */
  finish(): Promise<void>;
}

export interface LiveMoveProgress {
  /**
   * `copying` → `comparing` → `switched` → `finished` or `back`. `failed`: the old side counts, as before, and asking
   * again begins anew.
   */
  readonly state: 'copying' | 'comparing' | 'switched' | 'finished' | 'back' | 'failed';
  readonly from: string;
  readonly to: string;
  /** The table that is being copied or compared, and how many of its rows are done. */
  readonly table: string | null;
  readonly rows: number;
  /** Changes made meanwhile that were carried over, in either direction. */
  readonly changes: number;
  /** For how long transactions were held back at most, ms. */
  readonly longestHoldMs: number;
  /** What both sides held when they were compared last. */
  readonly compared: readonly TableComparison[];
  /** Why it has failed, or why the old side does not follow just now. */
  readonly problem: string | null;
}

export interface LiveMoveOptions {
  readonly storage: MovableStorage;
  readonly from: Storage;
  readonly to: Storage;
  readonly migrations: readonly Migration[];
  readonly ledger: LiveMoveLedger;
  /** What the new side holds is left of a try of this very move. */
  readonly isUnfinished: boolean;
  readonly log: Log;
}

/**
 * Takes a database to another one while it is worked with.
 *
 *   record changes ─► copy one moment ─► carry changes over ─► hold: compare what stands still ─► … ─► hold: switch
 *   then, until it is finished or turned back: record on the new side, carry over to the old one
 *
 * One side is written to at a time and the other follows: two that are both written to would have to agree on every
 * transaction. Until the switch the old one counts, afterwards the new one; turning back is the same switch the other way.
 */
export class LiveStorageMove implements Lifecycle {
  readonly #options: LiveMoveOptions;
  #progress: LiveMoveProgress;
  #running: Promise<void> | undefined;
  #isStopping = false;
  #tables: readonly TableShape[] = [];

  constructor(options: LiveMoveOptions) {
    const { from, to } = options;
    this.#options = options;
    this.#progress = { state: 'copying', from: from.contents.place, to: to.contents.place, table: null, rows: 0, changes: 0, longestHoldMs: 0, compared: [], problem: null };
  }

  get progress(): LiveMoveProgress {
    return { ...this.#progress, longestHoldMs: this.#options.storage.longestHoldMs };
  }

  /** Begins with a storage whose old side runs. Answers whether the new side counts; then the old one follows. */
  async begin(): Promise<boolean> {
    const moved = this.#move();
    this.#running = moved.then((isMoved) => (isMoved ? this.#follow() : undefined));
    return moved;
  }

  /** Goes on behind the switch, with a storage whose new side runs. */
  async start(): Promise<void> {
    if (this.#running !== undefined) return;
    this.#note({ state: 'switched' });
    this.#running = this.#follow();
  }

  /** The side that does not count stops; what it lacks is carried over after the next start. */
  async stop(deadlineMs: number): Promise<void> {
    this.#isStopping = true;
    await this.#running;
    const { storage, from, to } = this.#options;
    await (storage.side === from ? to : from).stop(deadlineMs);
  }

  /** The old side counts again. Faults: `conflict`/`not_switched`, `unavailable`, those of the storages; then the new one counts on. */
  async back(): Promise<void> {
    const { storage, from, to, ledger } = this.#options;
    this.#requireSwitched();
    await this.#endFollowing();
    try {
      if (this.#tables.length === 0) throw new Fault('unavailable', this.#progress.problem ?? 'The old storage cannot be reached.', { reason: 'not_following' });
      await this.#hold(to, from, async () => {
        await ledger.back();
        return from;
      });
    } catch (thrown) {
      this.#isStopping = false;
      this.#running = this.#follow();
      throw thrown;
    }
    this.#note({ state: 'back' });
    storage.accompany(undefined);
    await this.#letGo(to);
  }

  /** The old side is let go, as it is. Faults: `conflict`/`not_switched`. */
  async finish(): Promise<void> {
    const { storage, from, to, ledger } = this.#options;
    this.#requireSwitched();
    await ledger.finish();
    await this.#endFollowing();
    this.#note({ state: 'finished' });
    storage.accompany(undefined);
    await to.contents.stopRecording();
    await this.#letGo(from);
  }

  async #move(): Promise<boolean> {
    const { storage, from, to, log } = this.#options;
    try {
      await this.#prepare();
      await this.#copy();
      await this.#compare();
      await this.#switch();
      this.#note({ state: 'switched', table: null });
      log.info({ newStorage: this.#progress.to, longestHoldMs: storage.longestHoldMs }, 'the data has been moved; the old storage follows until the move is finished');
    } catch (thrown) {
      const fault = toFault(thrown);
      this.#note({ state: 'failed', problem: fault.message });
      if (!this.#isStopping) log.error({ reason: fault.reason, err: fault.cause ?? fault }, 'moving the data has failed; the old storage counts as before');
      await from.contents.stopRecording().catch(() => {});
      storage.accompany(undefined);
      await this.#letGo(to);
      return false;
    }
    return true;
  }

  async #prepare(): Promise<void> {
    const { from, to, migrations, ledger, isUnfinished } = this.#options;
    await requireMigrated(from, migrations);
    await to.start();
    if (!isUnfinished && !(await isEmpty(to))) throw new Fault('conflict', `The new storage holds something already: ${to.contents.place}.`, { reason: 'target_not_empty' });
    await ledger.begin();
    await to.contents.stopRecording();
    await to.migrate(migrations);
    await clear(to);
    this.#tables = await commonTables(from, to);
    await from.contents.stopRecording();
    await from.contents.startRecording(this.#keyed);
  }

  /** One moment behind the beginning of the record. */
  async #copy(): Promise<void> {
    const { from, to } = this.#options;
    const snapshot = await from.snapshot();
    try {
      for (const table of this.#tables) {
        let rows = 0;
        for await (const batch of snapshot.rows(table, { batchRows: BATCH_ROWS })) {
          this.#goOn();
          await to.transaction(to.contents.insertion(table, batch as StoredRow[]), { timeoutMs: LONGEST_MS });
          this.#note({ table: table.name, rows: (rows += batch.length) });
        }
      }
    } finally {
      await snapshot.close();
    }
    await this.#carryMost(from, to);
  }

  /** Both sides as they stand at one moment, read while work goes on. What changes later is compared row by row as it is carried over. */
  async #compare(): Promise<void> {
    const { storage, from, to } = this.#options;
    this.#note({ state: 'comparing', table: null });
    const sides: Side[] = [];
    await this.#hold(from, to, async () => {
      sides.push(await sideOf(from), await sideOf(to));
      return storage.side;
    });
    try {
      const compared = await compareSides(this.#tables, sides[0]!, sides[1]!, ({ table, rows }) => this.#note({ table, rows }));
      this.#note({ compared });
      const differing = compared.filter(({ isSame }) => !isSame).map(({ table }) => table);
      if (differing.length > 0) throw new Fault('conflict', `The two sides differ in ${differing.join(', ')}.`, { reason: 'move_differs' });
    } finally {
      await Promise.all(sides.map(({ snapshot }) => snapshot.close()));
    }
  }

  /** The new side counts from then on and records what changes there; the old one records no more. */
  async #switch(): Promise<void> {
    const { from, to, ledger } = this.#options;
    await this.#hold(from, to, async () => {
      // What it holds when the line cannot be written is thrown away by the next try.
      await to.contents.startRecording(this.#keyed);
      await ledger.switched();
      return to;
    });
    await from.contents.stopRecording().catch(() => {});
  }

  /** Runs `work` while both sides stand still and are the same. */
  async #hold(from: Storage, to: Storage, work: () => Promise<Storage>): Promise<void> {
    const { storage } = this.#options;
    for (let tries = 1; ; tries++) {
      await this.#carryMost(from, to);
      this.#goOn();
      const until = performance.now() + HOLD_MS;
      let isDone = false;
      await storage.hold(async () => {
        if (!(await this.#carryRest(from, to, until))) return storage.side;
        isDone = true;
        return work();
      });
      if (isDone) return;
      if (tries === TRIES) throw new Fault('unavailable', 'So much is written that the other storage does not catch up.', { reason: 'move_too_slow' });
    }
  }

  async #carryMost(from: Storage, to: Storage): Promise<void> {
    for (let count = Infinity; count > FEW; ) {
      this.#goOn();
      count = await this.#carry(from, to);
    }
  }

  /** False when it takes too long. */
  async #carryRest(from: Storage, to: Storage, until: number): Promise<boolean> {
    while ((await this.#carry(from, to)) > 0) if (performance.now() > until) return false;
    for (const table of this.#tables) {
      if (table.key.length === 0) await this.#copyWhole(from, to, table);
      if (table.numbered === null) continue;
      const last = await from.contents.lastNumber(table);
      await to.transaction((tx) => to.contents.setLastNumber(tx, table, last));
    }
    return performance.now() <= until;
  }

  /** Of a table whose rows cannot be told apart. */
  async #copyWhole(from: Storage, to: Storage, table: TableShape): Promise<void> {
    const snapshot = await from.snapshot();
    try {
      await to.transaction(async (tx) => {
        await tx.db.deleteFrom(table.name).execute();
        for await (const batch of snapshot.rows(table, { batchRows: BATCH_ROWS })) await to.contents.insertion(table, batch as StoredRow[])(tx);
      }, { timeoutMs: LONGEST_MS });
    } finally {
      await snapshot.close();
    }
  }

  async #carry(from: Storage, to: Storage): Promise<number> {
    const count = await new Changes(from, to, this.#tables).carry();
    this.#note({ changes: this.#progress.changes + count });
    return count;
  }

  /** Keeps the old side as the new one is, until it is told to stop. */
  async #follow(): Promise<void> {
    const { from, to, migrations, log } = this.#options;
    do {
      try {
        if (this.#tables.length === 0) {
          await from.start();
          await requireMigrated(from, migrations);
          // Left on when the process that switched was killed just then.
          await from.contents.stopRecording();
          this.#tables = await commonTables(from, to);
        }
        const count = await this.#carry(to, from);
        this.#note({ problem: null });
        if (count === 0) await pause(LOOK_MS);
      } catch (thrown) {
        const { message, reason } = toFault(thrown);
        if (this.#progress.problem === null) log.error({ reason, err: thrown }, 'the old storage does not follow the new one; tried again');
        this.#note({ problem: `The old storage does not follow: ${message}` });
        await pause(RETRY_MS);
      }
    } while (!this.#isStopping);
  }

  async #endFollowing(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
    this.#isStopping = false;
  }

  async #letGo(side: Storage): Promise<void> {
    await side.contents.stopRecording().catch(() => {});
    await side.stop(HOLD_MS).catch(() => {});
  }

  #requireSwitched(): void {
    if (this.#progress.state !== 'switched') throw new Fault('conflict', 'The data has not been moved yet, or the move is over.', { reason: 'not_switched' });
  }

  #goOn(): void {
    if (this.#isStopping) throw new Fault('cancelled', 'The host is stopping; the move begins anew when it is asked for again.', { reason: 'stopped' });
  }

  get #keyed(): readonly TableShape[] {
    return this.#tables.filter(({ key }) => key.length > 0);
  }

  #note(change: Partial<LiveMoveProgress>): void {
    this.#progress = { ...this.#progress, ...change };
  }
}
