import { type Clock, type EpochMs, type Timer } from '../../../src/kernel/clock.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import type { ConsumeOptions, Consumer, Handler, Outcome } from '../../../src/ports/bus.ts';
import { outcomeOf } from '../../../src/ports/handling.ts';
import type { Flight, Queue } from './queue.ts';
import { RUN_MS, type Run } from './run.ts';

/**
 * `returned`: the consumer stopped first. Counts as a try, but the message is due at once.
 * `untried`: its handler was not called, since the one before it in its run must be tried again, or no more may run.
 */
export type Ending = Outcome | { readonly kind: 'returned' } | { readonly kind: 'untried' };

/** How long a stopping consumer waits, beyond its deadline, for the disk to take back what it gives back. */
const GIVE_BACK_MS = 1_000;

export interface WorkerContext {
  readonly clock: Clock;
  readonly log: Log;
  /** Takes the outcome of a flight; it lands when that is on disk. */
  end(flight: Flight, ending: Ending): void;
}

/** One consumer of one queue: runs the handler on what it is given, up to `concurrency` at a time. */
export class Worker implements Consumer {
  readonly queue: Queue;
  readonly concurrency: number;
  readonly isAttended: () => boolean;
  /** What it owns, the outcomes that are not yet on disk included. */
  readonly flights = new Set<Flight>();
  /** What holds its places. */
  readonly runs = new Set<Run>();
  readonly #handler: Handler;
  readonly #context: WorkerContext;
  #stopping: Promise<void> | undefined;
  #landed: (() => void) | undefined;

  constructor(queue: Queue, { concurrency, isAttended = () => true }: ConsumeOptions, handler: Handler, context: WorkerContext) {
    this.queue = queue;
    this.concurrency = concurrency;
    this.isAttended = isAttended;
    this.#handler = handler;
    this.#context = context;
  }

  get free(): number {
    return this.#stopping === undefined ? this.concurrency - this.runs.size : 0;
  }

  add(flight: Flight): void {
    this.flights.add(flight);
    this.runs.add(flight.run);
    flight.run.open++;
  }

  remove(flight: Flight): void {
    this.flights.delete(flight);
    if (--flight.run.open === 0) this.runs.delete(flight.run);
  }

  /** The run's taking is on disk: the handler may be called, for one message after the other. */
  async run({ flights }: Run): Promise<void> {
    const began = performance.now();
    let goesOn = true;
    for (const flight of flights) {
      // A stop may have given it back meanwhile.
      if (flight.ended) continue;
      if (goesOn && (flight.begun || this.#mayBegin(flight, began))) goesOn = await this.#handle(flight);
      else this.#context.end(flight, { kind: 'untried' });
    }
  }

  stop(deadlineMs: number): Promise<void> {
    return (this.#stopping ??= this.#stop(this.#context.clock.now() + deadlineMs));
  }

  /** Called after each transaction that may have landed some. */
  noteLanding(): void {
    if (this.flights.size === 0) this.#landed?.();
  }

  /** Whether a message that waits in its run may still have its turn there. */
  #mayBegin(flight: Flight, began: number): boolean {
    return this.#stopping === undefined && this.queue.isOpen(flight.workspace) && performance.now() - began < RUN_MS;
  }

  /** Answers whether the next message of the key may follow. */
  async #handle(flight: Flight): Promise<boolean> {
    flight.begun = true;
    const began = performance.now();
    const outcome = await outcomeOf(this.#handler, flight.message, this.#context.log);
    this.queue.pace.note(performance.now() - began);
    if (flight.ended) return false;
    this.#context.end(flight, outcome);
    return outcome.kind === 'done' || outcome.kind === 'dead';
  }

  async #stop(deadline: EpochMs): Promise<void> {
    if (!(await this.#allLanded(deadline))) {
      for (const flight of this.flights) if (!flight.ended) this.#context.end(flight, { kind: flight.begun ? 'returned' : 'untried' });
      await this.#allLanded(this.#context.clock.now() + GIVE_BACK_MS);
    }
    this.queue.workers.delete(this);
  }

  async #allLanded(deadline: EpochMs): Promise<boolean> {
    if (this.flights.size === 0) return true;
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#landed = resolve;
      timer = this.#context.clock.at(deadline, resolve);
    });
    timer?.cancel();
    this.#landed = undefined;
    return this.flights.size === 0;
  }
}
