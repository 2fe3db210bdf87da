import { Fault, toFault } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Migration, Storage, TableShape } from '../ports/storage.ts';
import { CatchUp, nothing, openSides, orNothing } from './catch-up.ts';
import { ComparedReads, type ReadsOf } from './compared-reads.ts';
import { Undecided } from './gate.ts';
import { decide, type LiveMoveLedger } from './live-move-ledger.ts';
import { type LiveMoveProgress, problemIn } from './live-move-progress.ts';
import type { MovableStorage } from './movable-storage.ts';
import { compareSides } from './storage-compare.ts';
import { clear, copyMoment, requireFree } from './storage-copy.ts';
import { StorageFollower } from './storage-follower.ts';
import { commonTables, requireMigrated } from './storage-tables.ts';

/** A side that is of no more use has so long for what is still being read from it. */
const LET_GO_MS = 1_000;

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
 *   where asked for, before the switch: carry changes over, and make reads on both sides
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
  #follower: StorageFollower | undefined;
  #reads: ComparedReads | undefined;

  constructor(options: LiveMoveOptions) {
    const { from, to } = options;
    this.#options = options;
    this.#progress = { state: 'copying', from: from.contents.place, to: to.contents.place, table: null, rows: 0, changes: 0, longestHoldMs: 0, compared: [], reads: null, problem: null };
  }

  get progress(): LiveMoveProgress {
    const reads = this.#reads?.figures ?? null;
    const problem = this.#progress.problem ?? (reads !== null && reads.differed > 0 ? `Reads differ in the new storage: ${reads.differed}.` : null);
    return { ...this.#progress, longestHoldMs: this.#options.storage.longestHoldMs, reads, problem };
  }

  /**
   * Begins with a storage whose old side runs. Answers whether it has come so far that the new side counts, and the old
   * one follows; with `reads`, that the new side follows and such reads are made on both.
   */
  begin(reads?: ReadsOf): Promise<boolean> {
    return this.#run(this.#move(reads));
  }

  /** Goes on where a process has ended: behind the switch with a storage whose new side runs, else with the old one and a new one that follows. */
  async start(): Promise<void> {
    if (this.#running !== undefined) return;
    this.#note({ state: this.#options.storage.side === this.#options.from ? 'following' : 'switched' });
    this.#running = Promise.resolve();
    this.#follow();
  }

  /** The side that does not count stops; what it lacks is carried over after the next start. */
  async stop(deadlineMs: number): Promise<void> {
    const until = performance.now() + deadlineMs;
    this.#isStopping = true;
    if (this.#running !== undefined) await orNothing(this.#running.then(() => this.#follower?.stop()), deadlineMs);
    const { storage, from, to } = this.#options;
    storage.readWith(undefined);
    // What one that hangs has not answered fails then.
    await (storage.side === from ? to : from).stop(Math.max(until - performance.now(), 0));
  }

  /** From now on such reads are made on both sides. Faults: `conflict`/`not_following`. */
  read(reads: ReadsOf): void {
    this.#requireFollowing();
    const { storage, from, to, log } = this.#options;
    this.#reads ??= new ComparedReads({ from, to, tables: () => this.#catchUp?.tables ?? [], log });
    this.#reads.of = reads;
    storage.readWith(this.#reads);
  }

  /** Whether `switchOver` may be asked for. Faults: `conflict` (`not_following`, `reads_differ`), `unavailable`/`not_following`. */
  requireAlike(): void {
    this.#requireFollowing();
    if (this.#catchUp === undefined) throw new Fault('unavailable', this.#progress.problem ?? 'The new storage cannot be reached.', { reason: 'not_following' });
    if (this.#reads?.haveDiffered === true) throw new Fault('conflict', 'Reads differ in the new storage.', { reason: 'reads_differ', details: { remedy: 'The log names them. Turn it back, see why, and move again.' } });
  }

  /** After a time in which the new side followed: both are compared once more, and it counts. Answers whether it does; where it may not, all is as before. */
  async switchOver(): Promise<boolean> {
    try {
      this.requireAlike();
    } catch (thrown) {
      this.#note({ problem: problemIn(thrown) });
      return false;
    }
    return this.#end('following', async () => {
      await this.#endFollowing();
      await this.#lookAgain(this.#catchUp!, 'now');
      if (this.#reads?.haveDiffered === true) {
        this.#follow();
        return false;
      }
      this.#options.storage.readWith(undefined);
      return this.#run(this.#switchFollowing());
    });
  }

  /** The old side counts again, or still. Faults: `conflict`/`not_switched`, `unavailable`, those of the storages; then all is as before. */
  back(): Promise<void> {
    return this.#progress.state === 'following' ? this.#end('following', () => this.#callOff()) : this.#end('switched', () => this.#turnBack());
  }

  /** The old side is let go, as it is. Faults: `conflict`/`not_switched`. */
  finish(): Promise<void> {
    return this.#end('switched', () => this.#letOldGo());
  }

  #requireFollowing(): void {
    if (this.#isEnding || this.#progress.state !== 'following') throw new Fault('conflict', 'The new storage does not follow the old one.', { reason: 'not_following' });
  }

  /** One at a time: the other way to end it would stop the side that counts from then on. */
  async #end<T>(state: LiveMoveProgress['state'], work: () => Promise<T>): Promise<T> {
    if (this.#isEnding || this.#progress.state !== state) throw new Fault('conflict', 'The data has not been moved yet, or the move is over.', { reason: 'not_switched' });
    this.#isEnding = true;
    try {
      return await work();
    } finally {
      this.#isEnding = false;
    }
  }

  /** What it comes to, with one side following from then on when that is well. */
  #run(work: Promise<boolean>): Promise<boolean> {
    this.#running = work.then((isWell) => (isWell ? this.#follow() : undefined));
    return work;
  }

  async #callOff(): Promise<void> {
    const { storage, from, to, ledger } = this.#options;
    await this.#endFollowing();
    try {
      // What is recorded may only end when nobody would go on with it.
      await ledger.begin();
    } catch (thrown) {
      this.#follow();
      throw thrown;
    }
    storage.readWith(undefined);
    storage.accompany(undefined);
    this.#note({ state: 'back' });
    try {
      await from.contents.stopRecording();
      await ledger.back();
    } finally {
      await this.#letGo(to);
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
      this.#follow();
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

  async #move(reads: ReadsOf | undefined): Promise<boolean> {
    const { from, to, ledger } = this.#options;
    try {
      await this.#prepare();
      // Behind the beginning of the record, so that what changes meanwhile is carried over.
      await copyMoment(from, to, this.#catchUp!.tables, (table, rows) => {
        this.#goOn();
        this.#note({ table, rows });
      });
      await this.#catchUp!.most(from, to);
      await this.#compare();
      if (reads === undefined) await this.#switch();
      else {
        await ledger.following();
        this.#note({ state: 'following', table: null });
        this.read(reads);
      }
    } catch (thrown) {
      await this.#fail(thrown, true);
      return false;
    }
    return true;
  }

  async #switchFollowing(): Promise<boolean> {
    const { from, to, migrations, ledger } = this.#options;
    try {
      for (const side of [from, to]) await requireMigrated(side, migrations);
      await this.#compare();
      await this.#switch();
    } catch (thrown) {
      // The next start goes on following.
      if (this.#isStopping) return false;
      // What is recorded may only end when nobody would go on with it.
      await this.#fail(thrown, !(thrown instanceof Undecided) && (await ledger.begin().then(() => true, () => false)));
      return false;
    }
    return true;
  }

  async #fail(thrown: unknown, isRecordingOver: boolean): Promise<void> {
    const { storage, from, to, log } = this.#options;
    const fault = thrown instanceof Undecided ? thrown.fault : toFault(thrown);
    this.#note({ state: 'failed', problem: problemIn(fault) });
    if (!this.#isStopping) log.error({ reason: fault.reason, err: fault.cause ?? fault }, 'moving the data has failed; the old storage counts as before');
    if (isRecordingOver) await from.contents.stopRecording().catch(() => {});
    storage.accompany(undefined);
    await this.#letGo(to);
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
    const { storage, from, to, ledger, log } = this.#options;
    // What is carried over until then is carried back once more, which does no harm; the other way round it would take its time within the hold.
    await to.contents.startRecording(this.#keyed);
    await this.#catchUp!.hold(from, to, nothing, async () => {
      await decide(() => ledger.switched(), () => ledger.begin());
      return to;
    });
    await from.contents.stopRecording().catch(() => {});
    this.#note({ state: 'switched', table: null });
    log.info({ newStorage: this.#progress.to, longestHoldMs: storage.longestHoldMs }, 'the data has been moved; the old storage follows until the move is finished');
  }

  /** Keeps the side that does not count as the other one is. */
  #follow(): void {
    const { storage, from, to, migrations, log } = this.#options;
    const isSwitched = storage.side === to;
    const [ahead, behind] = isSwitched ? [to, from] : [from, to];
    this.#follower = new StorageFollower({
      ahead, behind, migrations, log,
      name: isSwitched ? 'old' : 'new',
      catchUp: this.#catchUp,
      pair: () => this.#pair(),
      between: async (catchUp) => (isSwitched ? undefined : this.#lookAgain(catchUp, 'in time')),
      tell: (problem) => this.#note({ problem }),
    });
  }

  /** Once: a new side that is slow just now will be asked again. */
  async #lookAgain(catchUp: CatchUp, when: 'in time' | 'now'): Promise<void> {
    const { from, to } = this.#options;
    await this.#reads?.lookAgain((look) => catchUp.hold(from, to, async () => ({ value: await look(), close: async () => {} }), async () => from, 1), when);
  }

  async #endFollowing(): Promise<void> {
    await this.#running;
    await this.#follower?.stop();
    this.#follower = undefined;
  }

  async #letGo(side: Storage): Promise<void> {
    await side.contents.stopRecording().catch(() => {});
    await side.stop(LET_GO_MS).catch(() => {});
  }

  async #pair(): Promise<CatchUp> {
    const { storage, from, to } = this.#options;
    return (this.#catchUp = new CatchUp({ storage, tables: await commonTables(from, to), goOn: () => this.#goOn(), carried: (count) => this.#note({ changes: this.#progress.changes + count }) }));
  }

  #goOn(): void {
    if (this.#isStopping || this.#follower?.isStopping === true) throw new Fault('cancelled', 'The host is stopping; the move begins anew when it is asked for again.', { reason: 'stopped' });
  }

  get #keyed(): readonly TableShape[] {
    return this.#catchUp!.tables.filter(({ key }) => key.length > 0);
  }

  #note(change: Partial<LiveMoveProgress>): void {
    this.#progress = { ...this.#progress, ...change };
  }
}
