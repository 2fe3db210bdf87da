import type { Clock } from '../kernel/clock.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Bus, QueueState } from '../ports/bus.ts';
import { inParts } from '../ports/in-parts.ts';
import type { BusSides } from './bus-sides.ts';
import { type Gate, inTime, Undecided } from './gate.ts';
import type { MovableConsumer } from './movable-consumer.ts';

/** Remembers over restarts which queues lie in the new bus. What it was told last is safely on disk when it resolves. */
export interface MoveLedger {
  note(moved: readonly string[]): Promise<void>;
  /** Everything lies there. */
  close(): Promise<void>;
}

export interface QueueProgress {
  readonly queue: string;
  /** `draining`: what is under way finishes, nothing is taken. `moved`: it lies in the new bus. */
  readonly state: 'waiting' | 'draining' | 'copying' | 'moved';
  /** Messages copied by this process. */
  readonly copied: number;
}

export interface MoveProgress {
  /** `failed`: it has stopped, every queue works where it is, and asking again goes on. */
  readonly state: 'moving' | 'failed' | 'done';
  readonly from: string;
  readonly to: string;
  readonly queues: readonly QueueProgress[];
  /** How long publishing to one queue was held back at most, ms. */
  readonly longestHoldMs: number;
  /** Why it has stopped, for people. */
  readonly problem: string | null;
}

/** What is under way when a queue's turn comes may take so long; then it goes back, as when a host stops. */
const DRAIN_MS = 10_000;
/** Publishing to a queue is never held back for longer. */
const HOLD_MS = 5_000;
/** So few messages are left to copy when publishing is held back. */
const FEW = 200;
const REOPEN_MS = 1_000;

export interface BusMoveOptions {
  readonly sides: BusSides;
  readonly ledger: MoveLedger;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly log: Log;
  consumersOf(queue: string): readonly MovableConsumer[];
  /** Everything lies in the new bus; called once. */
  over(): void;
}

/**
 * Takes one queue after the other to the new bus.
 *
 *   consumers stop ──► copy what is there ──► hold publishing ──► copy the rest, compare ──► ledger ──► consumers and
 *   (publishing goes to the old bus)          (some milliseconds)                                       publishers go there
 *
 * The ledger's line is the moment in which a queue changes sides. Before it the old bus holds everything, and what the
 * new one has of the queue is thrown away by the next try; after it the new one does, and what the old one still has
 * is cleared away, there and by whatever process comes next.
 */
export class BusMove {
  readonly #options: BusMoveOptions;
  readonly #copied = new Map<string, number>();
  #running: Promise<void> | undefined;
  #state: MoveProgress['state'] = 'moving';
  #problem: string | null = null;
  /** The queue whose turn it is. */
  #current: { readonly queue: string; state: 'draining' | 'copying' } | undefined;
  #isAbandoned = false;

  constructor(options: BusMoveOptions) {
    this.#options = options;
  }

  get progress(): MoveProgress {
    const { sides, gate } = this.#options;
    const stateOf = (queue: string): QueueProgress['state'] => (sides.hasMoved(queue) ? 'moved' : this.#current?.queue === queue ? this.#current.state : 'waiting');
    return {
      state: this.#state,
      from: sides.from.contents.place,
      to: sides.to.contents.place,
      queues: sides.queues.map((queue) => ({ queue, state: stateOf(queue), copied: this.#copied.get(queue) ?? 0 })),
      longestHoldMs: gate.longestMs,
      problem: this.#problem,
    };
  }

  /** Resolves when it does nothing any more. */
  get settled(): Promise<void> {
    return this.#running ?? Promise.resolve();
  }

  /** Whether its last queue has changed sides is not known: only a restart finds out. */
  get isUndecided(): boolean {
    return this.#running === undefined && this.#current !== undefined;
  }

  /** It is this queue's turn: nobody takes from it or tends it. */
  holds(queue: string): boolean {
    return this.#current?.queue === queue;
  }

  /** Goes on where it stopped. */
  run(): void {
    if (this.#running !== undefined || this.#state === 'done') return;
    this.#state = 'moving';
    this.#problem = null;
    this.#isAbandoned = false;
    this.#running = this.#moveAll()
      .then(
        () => (this.#state = 'done'),
        (thrown: unknown) => this.#fail(thrown),
      )
      .then(() => (this.#running = undefined));
  }

  /** Stops at the next step; the next process goes on, or whoever has it run again. */
  abandon(): void {
    this.#isAbandoned = true;
  }

  async #moveAll(): Promise<void> {
    const { sides, ledger, log, over } = this.#options;
    if (this.#current !== undefined) throw new Fault('unavailable', 'Whether a queue lies in the new bus could not be written down; restart the host.', { reason: 'move_undecided' });
    log.info({ oldBus: sides.from.contents.place, newBus: sides.to.contents.place, queues: sides.unmoved.length }, 'the messages are being moved to another bus');
    for (const state of await sides.from.inspect()) if (sides.hasMoved(state.name) && sumOf(state) > 0) await this.#clear(sides.from, state.name);
    for (let [queue] = sides.unmoved; queue !== undefined; [queue] = sides.unmoved) await this.#moveQueue(queue);
    const left = (await sides.from.inspect()).find((state) => sumOf(state) > 0);
    if (left !== undefined) throw new Fault('internal', `The queue ${left.name} of the old bus is not empty.`, { reason: 'move_left_over' });
    await ledger.close();
    over();
    log.info({ newBus: sides.to.contents.place, longestHoldMs: this.#options.gate.longestMs }, 'the messages have been moved');
  }

  async #moveQueue(queue: string): Promise<void> {
    const { sides, gate } = this.#options;
    this.#goOn();
    const current = { queue, state: 'draining' as 'draining' | 'copying' };
    this.#current = current;
    this.#copied.set(queue, 0);
    try {
      await this.#requireAlone();
      await this.#drain(queue);
      current.state = 'copying';
      await this.#clear(sides.to, queue);
      const after = await this.#copy(queue);
      this.#goOn();
      await gate.hold(queue, () => this.#switch(queue, after));
    } catch (thrown) {
      // Neither side may be touched until a restart has found out; a queue without consumers is the lesser evil.
      if (!(thrown instanceof Undecided)) await this.#reopen(queue);
      throw thrown instanceof Undecided ? thrown.fault : thrown;
    }
    await this.#reopen(queue);
    await this.#clear(sides.from, queue);
  }

  /** What lies in the new bus of a queue that has not moved is a copy cut short, to be thrown away, unless somebody works there already. */
  async #requireAlone(): Promise<void> {
    const { sides } = this.#options;
    const used = (await sides.to.inspect()).find(({ name, consumers }) => consumers > 0 && !sides.hasMoved(name));
    if (used !== undefined) throw new Fault('conflict', `Another process consumes ${used.name} on the new bus already; stop it until the move has ended.`, { reason: 'target_in_use' });
  }

  /** Nobody has messages of the queue any more, and nobody tends it. */
  async #drain(queue: string): Promise<void> {
    const { sides, gate, consumersOf } = this.#options;
    await Promise.all(consumersOf(queue).map((consumer) => consumer.suspend(DRAIN_MS)));
    await gate.empty(DRAIN_MS);
    const [state] = await sides.from.inspect({ queue });
    if (state!.inFlight > 0 || state!.consumers > 0) throw new Fault('conflict', `Another process consumes ${queue}, or something of it is still under way. Stop it, or take the queue out of bus.workers, until the move has ended.`, { reason: 'queue_in_use' });
  }

  /** While publishing goes on, until few are left; answers where it stopped. */
  async #copy(queue: string): Promise<string | undefined> {
    let after: string | undefined;
    for (let isNearlyDone = false; !isNearlyDone; ) {
      this.#goOn();
      const { next, end, count } = await this.#copyPage(queue, after);
      after = next;
      isNearlyDone = end && count <= FEW;
    }
    return after;
  }

  async #copyPage(queue: string, after: string | undefined): Promise<{ next: string; end: boolean; count: number }> {
    const { from, to } = this.#options.sides;
    const { messages, next, end } = await from.contents.read(queue, after);
    if (messages.length > 0) await to.contents.add(queue, messages);
    this.#copied.set(queue, this.#copied.get(queue)! + messages.length);
    return { next, end, count: messages.length };
  }

  /** Publishing to the queue is held back: what was under way arrives, the rest is copied, and the queue changes sides. */
  async #switch(queue: string, after: string | undefined): Promise<void> {
    const { sides, gate, clock } = this.#options;
    const until = clock.now() + HOLD_MS;
    const soon = <T>(work: Promise<T>): Promise<T> => inTime(work, until - clock.now(), clock, `The rest of ${queue} could not be taken over in time; it stays where it was.`);
    await gate.empty(HOLD_MS);
    for (let isDone = false; !isDone; ) {
      const { next, end } = await soon(this.#copyPage(queue, after));
      after = next;
      isDone = end;
    }
    await soon(this.#compare(queue));
    await soon(this.#copyPauses(queue));
    sides.move(queue);
    await this.#noteMoved(queue);
  }

  async #noteMoved(queue: string): Promise<void> {
    const { sides, ledger } = this.#options;
    try {
      await ledger.note(sides.moved);
    } catch (thrown) {
      sides.moveBack(queue);
      // What stands on the disk now is anybody's guess, unless the old line can be written again.
      await ledger.note(sides.moved).catch((cause: unknown) => {
        throw new Undecided(new Fault('unavailable', `Whether ${queue} lies in the new bus could not be written down; restart the host.`, { reason: 'move_undecided', cause }));
      });
      throw thrown;
    }
  }

  /** Nothing was lost on the way, and nothing was there before. */
  async #compare(queue: string): Promise<void> {
    const { from, to } = this.#options.sides;
    const [[here], [there]] = await Promise.all([from.inspect({ queue }), to.inspect({ queue })]);
    const sums = { copied: this.#copied.get(queue)!, from: sumOf(here!), to: sumOf(there!) };
    if (sums.from === sums.copied && sums.to === sums.copied) return;
    throw new Fault('internal', `Of ${queue} ${sums.copied} messages were copied, where the old bus has ${sums.from} and the new one ${sums.to}; it stays where it was.`, { reason: 'move_differs', details: sums });
  }

  async #copyPauses(queue: string): Promise<void> {
    const { from, to } = this.#options.sides;
    const [[here], [there]] = await Promise.all([from.inspect({ queue }), to.inspect({ queue })]);
    if (here!.paused) await to.pause(queue);
    else if (there!.paused) await to.resume(queue);
    for (const workspace of here!.pausedWorkspaces) await to.pause(queue, workspace);
    for (const workspace of there!.pausedWorkspaces) if (!here!.pausedWorkspaces.includes(workspace)) await to.resume(queue, workspace);
  }

  async #clear(bus: Bus, queue: string): Promise<void> {
    for (const dead of [true, false]) await inParts((from) => bus.purge(queue, { dead, filter: {}, ...from }));
    const [state] = await bus.inspect({ queue });
    if (sumOf(state!) === 0) return;
    throw new Fault('internal', `${sumOf(state!)} messages of ${queue} cannot be cleared away from ${bus === this.#options.sides.from ? 'the old' : 'the new'} bus.`, { reason: 'move_left_over' });
  }

  /** Consumers take from where the queue is now. A queue without consumers is tried for again until the stop. */
  async #reopen(queue: string): Promise<void> {
    const { sides, consumersOf, clock, log } = this.#options;
    this.#current = undefined;
    for (;;) {
      const results = await Promise.allSettled(consumersOf(queue).map((consumer) => consumer.open(sides.of(queue))));
      const failed = results.find((result) => result.status === 'rejected');
      if (failed === undefined || this.#isAbandoned) return;
      log.error({ queue, err: failed.reason }, 'a queue that was moved cannot be consumed; tried again');
      await new Promise<void>((resolve) => clock.after(REOPEN_MS, resolve));
    }
  }

  #goOn(): void {
    if (this.#isAbandoned) throw new Fault('cancelled', 'It was told to stop.', { reason: 'stopped' });
  }

  #fail(thrown: unknown): void {
    const fault = toFault(thrown);
    this.#state = 'failed';
    this.#problem = fault.message;
    if (!this.#isAbandoned) this.#options.log.error({ reason: fault.reason, err: fault.cause ?? fault }, 'moving the messages has stopped; every queue works where it is');
  }
}

/** All its messages, whatever they wait for. */
export function sumOf({ ready: { urgent, normal, bulk }, waiting, inFlight, dead }: QueueState): number {
  return urgent + normal + bulk + waiting + inFlight + dead;
}
