import type { Clock, EpochMs, Timer } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Counter, Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { type Copy, insert } from './insert.ts';
import { type BusMemory, type Tx, readNextDue } from './memory.ts';
import type { Flight, Queue } from './queue.ts';
import type { Run } from './run.ts';
import { READY } from './schema.ts';
import { type Ended, settle } from './settle.ts';
import * as sql from './statements.ts';
import { takeReady } from './take.ts';
import type { Ending } from './worker.ts';

/** What one transaction carries at most, so that it takes a few milliseconds; one publish call is never split. */
const COPIES_AT_ONCE = 256;
const BYTES_AT_ONCE = 1024 * 1024;
const ENDED_AT_ONCE = 256;
const DUE_AT_ONCE = 256;
/** What staff may ask for at once. */
const MOST_STEPS = 1_000;
/** After a failure the next transaction waits this long, doubling up to the longest. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 1_000;
/** A look at the clock and the queues even when nothing asked for one, should a wake-up ever be missed. */
const BACKSTOP_MS = 60_000;

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

interface Call extends Waiter {
  readonly copies: readonly Copy[];
  readonly bytes: number;
}

interface Step extends Waiter {
  readonly work: (tx: Tx, now: EpochMs) => Promise<void>;
}

/** One transaction of the bus and what hangs on it. */
interface Cycle {
  readonly ended: readonly Ended[];
  readonly calls: readonly Call[];
  readonly step: Step | undefined;
  readonly runs: Run[];
}

export interface PumpOptions {
  readonly storage: Storage;
  readonly memory: BusMemory;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Everything that the bus writes goes through here, one transaction after the other. Each carries whatever has come
 * up since the last: outcomes, what staff asked for, new messages, those that have become due, and the next ones to
 * take. So a message that finds a free consumer is published and taken with one fsync, and under load outcomes and
 * takings cost none of their own.
 *
 * Memory is changed as the transaction goes. When it fails, what was published is refused, outcomes are kept for the
 * next try, what was taken is let go, and the memory is read anew from the file before anything else.
 */
export class Pump {
  readonly #options: PumpOptions;
  readonly #published: Counter;
  readonly #handled: Counter;
  #ended: Ended[] = [];
  #calls: Call[] = [];
  #steps: Step[] = [];
  #callBytes = 0;
  #callCopies = 0;
  #wanted = false;
  #running: Promise<void> | undefined;
  /** After a failure, until its pause is over. */
  #resting = false;
  #closed = false;
  #doubtful = false;
  #failures = 0;
  #alarm: { readonly at: EpochMs; readonly timer: Timer } | undefined;

  constructor(options: PumpOptions) {
    this.#options = options;
    this.#published = options.metrics.counter('bus_published_total', 'Messages published, by queue.', ['queue']);
    this.#handled = options.metrics.counter('bus_handled_total', 'Deliveries that ended, by queue and outcome.', ['queue', 'outcome']);
  }

  /** Messages that wait for their transaction, and the bytes that they hold. */
  get pending(): { readonly copies: number; readonly bytes: number } {
    return { copies: this.#callCopies, bytes: this.#callBytes };
  }

  publish(copies: readonly Copy[], bytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#calls.push({ copies, bytes, resolve, reject });
      this.#callCopies += copies.length;
      this.#callBytes += bytes;
      this.wake();
    });
  }

  /** Runs `work` in a transaction of the bus, so that nothing else changes meanwhile. */
  perform<T>(work: (tx: Tx, now: EpochMs) => Promise<T>): Promise<T> {
    if (this.#steps.length >= MOST_STEPS) return Promise.reject(new Fault('exhausted', 'Too many requests of staff wait for the bus.', { reason: 'overload', details: { retryAfterMs: 1_000 }, origin: 'unsent' }));
    return new Promise((resolve, reject) => {
      let result: T;
      this.#steps.push({
        work: async (tx, now) => void (result = await work(tx, now)),
        resolve: () => resolve(result),
        reject,
      });
      this.wake();
    });
  }

  end(flight: Flight, ending: Ending): void {
    flight.ended = true;
    this.#ended.push({ flight, ending });
    this.wake();
  }

  /** There may be something to do. */
  wake = (): void => {
    this.#wanted = true;
    // While it rests there is nothing to await: a run that ended at once would leave its mark behind.
    if (this.#running !== undefined || this.#resting || this.#closed) return;
    this.#running = this.#run();
  };

  /** Finishes what it has been given, then takes nothing more. */
  async close(): Promise<void> {
    while (this.#running !== undefined && this.#failures === 0) await this.#running;
    this.#closed = true;
    this.#alarm?.timer.cancel();
    const over = new Fault('unavailable', 'The bus is stopping.', { reason: 'stopped', origin: 'unsent' });
    for (const waiter of [...this.#calls.splice(0), ...this.#steps.splice(0)]) waiter.reject(over);
  }

  async #run(): Promise<void> {
    while (this.#wanted && !this.#resting && !this.#closed) {
      if (await this.#cycle()) this.#rest();
    }
    if (!this.#resting) this.#setAlarm(this.#nextDue());
    // In the same breath as the last look at what is wanted, so that no wake-up falls in between.
    this.#running = undefined;
  }

  #rest(): void {
    this.#resting = true;
    this.#setAlarm(this.#options.clock.now() + Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures++));
  }

  /** One transaction; answers whether it failed. */
  async #cycle(): Promise<boolean> {
    let cycle: Cycle | undefined;
    try {
      await this.#options.storage.transaction(async (tx) => {
        cycle = this.#gather();
        await this.#carry(tx, cycle, this.#options.clock.now());
      });
    } catch (error) {
      this.#undo(cycle ?? this.#gather(), error);
      return true;
    }
    this.#doubtful = false;
    if (this.#failures > 0) this.#options.log.info({ failures: this.#failures }, 'the bus can write again');
    this.#failures = 0;
    this.#finish(cycle!);
    return false;
  }

  /** What this transaction will carry. Called when its turn has come: whatever arrived until then goes along. */
  #gather(): Cycle {
    this.#wanted = false;
    const ended = this.#ended.splice(0, ENDED_AT_ONCE);
    let copies = 0;
    let bytes = 0;
    let taken = 0;
    for (const call of this.#calls) {
      if (taken > 0 && (copies + call.copies.length > COPIES_AT_ONCE || bytes + call.bytes > BYTES_AT_ONCE)) break;
      copies += call.copies.length;
      bytes += call.bytes;
      taken++;
    }
    this.#callCopies -= copies;
    this.#callBytes -= bytes;
    return { ended, calls: this.#calls.splice(0, taken), step: this.#steps.shift(), runs: [] };
  }

  async #carry(tx: Tx, cycle: Cycle, now: EpochMs): Promise<void> {
    const { memory } = this.#options;
    const ended = this.#doubtful ? await this.#reread(tx, cycle.ended) : cycle.ended;
    if (ended.length > 0) await settle(tx, ended, now);
    await cycle.step?.work(tx, now);
    if (cycle.calls.length > 0) await insert(tx, memory, cycle.calls.flatMap((call) => call.copies), now);
    for (const queue of memory.queues()) {
      if (queue.nextDue <= now) await this.#release(tx, queue, now);
      if (queue.heldUntil <= now) queue.letGo();
      if (queue.canTake) {
        const { runs, more } = await takeReady(tx, memory, queue, now);
        cycle.runs.push(...runs);
        if (more) this.#wanted = true;
      }
      if (!queue.changed) continue;
      await tx.run(sql.saveQueue, queue.row());
      queue.changed = false;
    }
    if (this.#ended.length > 0 || this.#calls.length > 0 || this.#steps.length > 0) this.#wanted = true;
  }

  /** Moves what has become due to the ready ones. */
  async #release(tx: Tx, queue: Queue, now: EpochMs): Promise<void> {
    const places = await tx.run(sql.dueOf, { queue: queue.id, now, limit: DUE_AT_ONCE });
    if (places.length > 0) await tx.run(sql.moveTo, { seqs: `[${places.map((place) => place.seq).join(',')}]`, state: READY });
    for (const { seq, lane, workspace, due } of places) {
      queue.waiting--;
      queue.lanes[lane]!++;
      queue.ready(lane, workspace, seq, due);
    }
    queue.changed = true;
    await readNextDue(tx, queue);
    if (queue.nextDue <= now) this.#wanted = true;
  }

  /**
   * A transaction that failed may have reached the disk all the same. Outcomes that it carried and that stand there
   * must not be counted twice: those messages just land.
   */
  async #reread(tx: Tx, ended: readonly Ended[]): Promise<readonly Ended[]> {
    await this.#options.memory.reload(tx);
    const seqs = `[${ended.map(({ flight }) => flight.seq).join(',')}]`;
    const rows = new Map((await tx.run(sql.standing, { seqs })).map((row) => [row.seq, row]));
    return ended.filter(({ flight }) => {
      const row = rows.get(flight.seq);
      const open = row !== undefined && row.state === READY && row.attempts === flight.message.attempt - 1;
      if (!open) flight.queue.land(flight);
      return open;
    });
  }

  #undo({ ended, calls, step, runs }: Cycle, error: unknown): void {
    this.#doubtful = true;
    for (const { flights } of runs) for (const flight of flights) flight.queue.land(flight);
    for (const { flight } of ended) if (!flight.queue.flights.has(flight.seq)) flight.queue.takeOff(flight, flight.queue.lastTaken ?? 0);
    this.#ended.unshift(...ended);
    for (const waiter of [...calls, ...(step === undefined ? [] : [step])]) waiter.reject(error);
    const { code, reason } = Fault.is(error) ? error : { code: 'internal', reason: 'internal' };
    if (this.#failures === 0) this.#options.log.error({ err: error, code, reason }, 'the bus cannot write; it goes on trying');
  }

  #finish({ ended, calls, step, runs }: Cycle): void {
    for (const { resolve } of calls) resolve();
    step?.resolve();
    this.#count(calls, ended);
    for (const { flight } of ended) flight.run.worker.noteLanding();
    for (const run of runs) void run.worker.run(run);
  }

  #count(calls: readonly Call[], ended: readonly Ended[]): void {
    const published = new Map<string, number>();
    for (const { copies } of calls) for (const { queue } of copies) published.set(queue.name, (published.get(queue.name) ?? 0) + 1);
    for (const [queue, count] of published) this.#published.add(count, { queue });
    for (const { flight, ending } of ended) if (ending.kind !== 'untried') this.#handled.add(1, { queue: flight.queue.name, outcome: ending.kind });
  }

  #nextDue(): EpochMs {
    let next = this.#options.clock.now() + BACKSTOP_MS;
    for (const queue of this.#options.memory.queues()) next = Math.min(next, queue.nextDue, queue.heldUntil);
    return next;
  }

  /** The one timer of the bus. */
  #setAlarm(at: EpochMs): void {
    if (this.#closed || this.#alarm?.at === at) return;
    this.#alarm?.timer.cancel();
    const timer = this.#options.clock.at(at, () => {
      this.#alarm = undefined;
      this.#resting = false;
      this.wake();
    });
    this.#alarm = { at, timer };
  }
}
