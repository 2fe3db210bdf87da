import { setTimeout as pause } from 'node:timers/promises';
import { Fault, toFault } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Migration, Storage, StoredRow, TableShape } from '../ports/storage.ts';
import { CatchUp, nothing, openSides, orNothing } from './catch-up.ts';
import { Undecided } from './gate.ts';
import type { MovableStorage } from './movable-storage.ts';
import { compareSides, type TableComparison } from './storage-compare.ts';
import { clear, requireFree } from './storage-copy.ts';
import { commonTables, requireMigrated } from './storage-tables.ts';

const BATCH_ROWS = 500;
const LONGEST_MS = 60_000;
/** A side that is of no more use has so long for what is still being read from it. */
const LET_GO_MS = 1_000;
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
  #isEnding = false;
  /** From when both sides are known to have the same tables. */
  #catchUp: CatchUp | undefined;

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
    const until = performance.now() + deadlineMs;
    this.#isStopping = true;
    if (this.#running !== undefined) await orNothing(this.#running, deadlineMs);
    const { storage, from, to } = this.#options;
    // What one that hangs has not answered fails then.
    await (storage.side === from ? to : from).stop(Math.max(until - performance.now(), 0));
  }

  /** The old side counts again. Faults: `conflict`/`not_switched`, `unavailable`, those of the storages; then the new one counts on. */
  back(): Promise<void> {
    return this.#end(() => this.#turnBack());
  }

  /** The old side is let go, as it is. Faults: `conflict`/`not_switched`. */
  finish(): Promise<void> {
    return this.#end(() => this.#letOldGo());
  }

  /** One at a time: the other way to end it would stop the side that counts from then on. */
  async #end(work: () => Promise<void>): Promise<void> {
    if (this.#isEnding || this.#progress.state !== 'switched') throw new Fault('conflict', 'The data has not been moved yet, or the move is over.', { reason: 'not_switched' });
    this.#isEnding = true;
    try {
      await work();
    } finally {
      this.#isEnding = false;
    }
  }

  async #turnBack(): Promise<void> {
    const { storage, from, to, ledger } = this.#options;
    await this.#endFollowing();
    try {
      if (this.#catchUp === undefined) throw new Fault('unavailable', this.#progress.problem ?? 'The old storage cannot be reached.', { reason: 'not_following' });
      await this.#catchUp!.hold(to, from, nothing, async () => {
        await decide(() => ledger.back(), () => ledger.switched());
        return from;
      });
    } catch (thrown) {
      if (thrown instanceof Undecided) throw thrown.fault;
      this.#running = this.#follow();
      throw thrown;
    }
    this.#note({ state: 'back' });
    storage.accompany(undefined);
    await this.#letGo(to);
  }

  async #letOldGo(): Promise<void> {
    const { storage, from, to, ledger, log } = this.#options;
    await ledger.finish();
    await this.#endFollowing();
    this.#note({ state: 'finished' });
    storage.accompany(undefined);
    await this.#letGo(from);
    // It has been decided; what is recorded for nobody goes with the next start at the latest.
    await to.contents.stopRecording().catch((thrown: unknown) => log.error({ reason: toFault(thrown).reason, err: thrown }, 'the new storage still records its changes until the next start'));
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
      const fault = thrown instanceof Undecided ? thrown.fault : toFault(thrown);
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
    if (!isUnfinished) await requireFree(to, migrations);
    await ledger.begin();
    await to.contents.stopRecording();
    await to.migrate(migrations);
    await clear(to);
    await this.#pair();
    await from.contents.stopRecording();
    await from.contents.startRecording(this.#keyed);
  }

  /** One moment behind the beginning of the record. */
  async #copy(): Promise<void> {
    const { from, to } = this.#options;
    const snapshot = await from.snapshot();
    try {
      for (const table of this.#catchUp!.tables) {
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
    await this.#catchUp!.most(from, to);
  }

  /** Both sides as they stand at one moment, read while work goes on. What changes later is compared row by row as it is carried over. */
  async #compare(): Promise<void> {
    const { storage, from, to } = this.#options;
    this.#note({ state: 'comparing', table: null });
    const sides = await this.#catchUp!.hold(from, to, () => openSides(from, to), async () => storage.side);
    try {
      const compared = await compareSides(this.#catchUp!.tables, ...sides, ({ table, rows }) => this.#note({ table, rows }));
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
    // What is carried over until then is carried back once more, which does no harm; the other way round it would take its time within the hold.
    await to.contents.startRecording(this.#keyed);
    await this.#catchUp!.hold(from, to, nothing, async () => {
      await decide(() => ledger.switched(), () => ledger.begin());
      return to;
    });
    await from.contents.stopRecording().catch(() => {});
  }

  /** Keeps the old side as the new one is, until it is told to stop. */
  async #follow(): Promise<void> {
    const { from, to, migrations, log } = this.#options;
    do {
      try {
        if (this.#catchUp === undefined) {
          await from.start();
          await requireMigrated(from, migrations);
          // Left on when the process that switched was killed just then.
          await from.contents.stopRecording();
          await this.#pair();
        }
        const count = await this.#catchUp!.carry(to, from);
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
    await side.stop(LET_GO_MS).catch(() => {});
  }

  async #pair(): Promise<void> {
    const { storage, from, to } = this.#options;
    this.#catchUp = new CatchUp({ storage, tables: await commonTables(from, to), goOn: () => this.#goOn(), carried: (count) => this.#note({ changes: this.#progress.changes + count }) });
  }

  #goOn(): void {
    if (this.#isStopping) throw new Fault('cancelled', 'The host is stopping; the move begins anew when it is asked for again.', { reason: 'stopped' });
  }

  get #keyed(): readonly TableShape[] {
    return this.#catchUp!.tables.filter(({ key }) => key.length > 0);
  }

  #note(change: Partial<LiveMoveProgress>): void {
    this.#progress = { ...this.#progress, ...change };
  }
}

/** If not even the old line can be written again, what stands on the disk is anybody's guess, and neither side may be written to. */
async function decide(note: () => Promise<void>, undo: () => Promise<void>): Promise<void> {
  try {
    await note();
  } catch (thrown) {
    await undo().catch((cause: unknown) => {
      throw new Undecided(new Fault('unavailable', 'Which storage counts could not be written down; restart the host.', { reason: 'move_undecided', cause }));
    });
    throw thrown;
  }
}
