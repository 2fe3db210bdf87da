import type { Clock } from '../kernel/clock.ts';
import { Fault } from '../kernel/fault.ts';
import { StartStop } from '../kernel/lifecycle.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Bus, BusCapabilities, Consumer, Handler, HintListener, Outgoing, Part, QueueFilter, QueueSettings, QueueState } from '../ports/bus.ts';
import { Listeners } from '../ports/listeners.ts';
import { BusMove, type MoveLedger, type MoveProgress, sumOf } from './bus-move.ts';
import { BusSides, type FullBus } from './bus-sides.ts';
import { Gate, inTime } from './gate.ts';
import { MovableConsumer, type Outliving } from './movable-consumer.ts';

/** Where the messages are to go, and who remembers how far that is. */
export interface MoveTarget {
  /** Not started; this one starts and stops it. */
  readonly bus: FullBus;
  readonly ledger: MoveLedger;
  /** The queues that lie there already, as the ledger was told before; undefined for a move that begins. */
  readonly moved?: readonly string[];
  /** They have been there and are on their way back: `moved` are those that are back. */
  readonly isBack?: boolean;
}

/** For a bus that is closed again since nothing comes of the move. */
const CLOSING_MS = 1_000;
/** What is under way when a move begins. */
const BEGIN_MS = 10_000;
/** The longest that a queue's turn lasts once it shall end: draining, a page, and publishing held back. */
const TURNING_MS = 30_000;
/** Of the time of a stop, what the step gets in which a move is. */
const SETTLING_SHARE = 0.4;

interface Watch {
  readonly topics: readonly string[];
  readonly listener: HintListener;
  readonly ends: (() => void)[];
}

/**
 * A bus whose messages can be taken to another one while it works (docs/decisions/2026-11-21-bus-move.md). Without a
 * move it hands everything on. During one, each queue lies on one side, and whoever publishes or consumes goes there.
 */
export class MovableBus implements Bus {
  readonly #from: FullBus;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #life: StartStop;
  readonly #gate: Gate;
  readonly #consumers = new Set<MovableConsumer>();
  readonly #outliving: Outliving = new Map();
  readonly #watches = new Set<Watch>();
  readonly #listeners: Listeners;
  readonly #target: MoveTarget | undefined;
  #ledger: MoveLedger | undefined;
  #sides: BusSides | undefined;
  #move: BusMove | undefined;
  /** A move is about to begin: whoever declares waits until it knows all queues. */
  #beginning: Promise<void> | undefined;
  /** All is in the new bus. */
  #isOver = false;

  constructor(options: { readonly bus: FullBus; readonly clock: Clock; readonly log: Log; /** A move that an earlier process began. */ readonly move?: MoveTarget }) {
    this.#from = options.bus;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#target = options.move;
    this.#gate = new Gate(options.clock);
    this.#listeners = new Listeners(options.log);
    this.#life = new StartStop(() => this.#start(), (deadlineMs) => this.#stop(deadlineMs));
  }

  get capabilities(): BusCapabilities {
    return this.#current.capabilities;
  }

  get problem(): string | undefined {
    return this.#current.problem ?? (this.#isOver ? undefined : this.#other?.problem);
  }

  /** How far the move is that was asked for last; undefined before. */
  get progress(): MoveProgress | undefined {
    return this.#move?.progress;
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /** A move is under way or has been; only `goOn` makes sense. */
  get isMoving(): boolean {
    return this.#sides !== undefined;
  }

  /**
   * Begins a move, once; resolves when it is under way. Faults: `conflict` (the new bus is not empty),
   * `invalid` (it takes only smaller messages), those of the buses; then nothing has begun.
   */
  async move(target: MoveTarget): Promise<void> {
    try {
      await this.#open(target);
    } catch (thrown) {
      await target.bus.stop(CLOSING_MS);
      throw thrown;
    }
    this.#move!.run();
  }

  /**
   * Takes what has been moved back to where it was; resolves when that is under way, which `ledger` remembers from then
   * on. Where no move has got under way, there is nothing to take back. Faults: `unavailable` (the queue whose turn it is
   * does not come to an end), those of the ledger; then the move has stopped and may go on.
   */
  async turnBack(ledger: MoveLedger): Promise<void> {
    await this.#beginning;
    const sides = this.#sides;
    if (sides === undefined) return ledger.close();
    const begun = Promise.withResolvers<void>();
    this.#beginning = begun.promise;
    try {
      this.#move!.abandon();
      await inTime(this.#move!.settled, TURNING_MS, this.#clock, 'The queue whose turn it is does not come to an end; try again.');
      if (this.#isOver) throw new Fault('conflict', 'The move is over.', { reason: 'no_move' });
      if (this.#move!.isUndecided) throw new Fault('unavailable', 'Whether a queue lies in the new bus could not be written down; restart the host.', { reason: 'move_undecided' });
      await this.#gate.empty(BEGIN_MS);
      const turned = sides.turned;
      await ledger.note(turned.moved);
      this.#follow(turned, ledger);
    } finally {
      this.#beginning = undefined;
      begun.resolve();
    }
    this.#move!.run();
  }

  /** Has a move that has stopped go on. */
  goOn(): void {
    this.#move?.run();
  }

  async declare(settings: QueueSettings): Promise<void> {
    await this.#beginning;
    const sides = this.#sides;
    if (sides === undefined || this.#isOver) return this.#gate.pass(() => this.#current.declare(settings));
    await this.#gate.pass(async () => {
      await sides.to.declare(settings);
      if (sides.knows(settings.name)) await sides.from.declare(settings);
      else await this.#addMoved(sides, settings.name);
      sides.learn(settings);
    });
  }

  async publish(messages: readonly Outgoing[]): Promise<void> {
    for (;;) {
      const sides = this.#isOver ? undefined : this.#sides;
      const addressed = sides?.addressed(messages);
      const closed = addressed && this.#gate.closedFor(addressed);
      if (closed !== undefined) {
        await closed;
        continue;
      }
      await this.#gate.pass(() => (addressed === undefined ? this.#current.publish(messages) : sides!.publish(addressed)));
      if (addressed !== undefined) this.#listeners.tell(messages);
      return;
    }
  }

  async consume(queue: string, { concurrency }: { readonly concurrency: number }, handler: Handler): Promise<Consumer> {
    const consumer = new MovableConsumer(queue, concurrency, handler, { outliving: this.#outliving, ended: (one) => this.#consumers.delete(one) });
    this.#consumers.add(consumer);
    try {
      if (this.#move?.holds(queue) !== true) await consumer.open(this.#sideOf(queue));
    } catch (thrown) {
      this.#consumers.delete(consumer);
      throw thrown;
    }
    return consumer;
  }

  async inspect(which: QueueFilter = {}): Promise<QueueState[]> {
    const sides = this.#sides;
    if (sides === undefined || this.#isOver) return this.#current.inspect(which);
    if (which.queue !== undefined) return sides.of(which.queue).inspect(which);
    const [from, to] = await Promise.all([sides.from.inspect(which), sides.to.inspect(which)]);
    return [...from.filter(({ name }) => !sides.hasMoved(name)), ...to.filter(({ name }) => sides.hasMoved(name))];
  }

  browse(queue: string, which: Parameters<Bus['browse']>[1]): ReturnType<Bus['browse']> {
    return this.#sideOf(queue).browse(queue, which);
  }

  pause(queue: string, workspace?: string): Promise<void> {
    return this.#tend(queue, (bus) => bus.pause(queue, workspace));
  }

  resume(queue: string, workspace?: string): Promise<void> {
    return this.#tend(queue, (bus) => bus.resume(queue, workspace));
  }

  requeue(queue: string, which: Parameters<Bus['requeue']>[1]): Promise<Part> {
    return this.#tend(queue, (bus) => bus.requeue(queue, which));
  }

  purge(queue: string, which: Parameters<Bus['purge']>[1]): Promise<Part> {
    return this.#tend(queue, (bus) => bus.purge(queue, which));
  }

  watch(topics: readonly string[], listener: HintListener): () => void {
    const watch: Watch = { topics, listener, ends: [this.#from.watch(topics, listener), this.#listeners.add(topics, listener)] };
    if (this.#other !== undefined) watch.ends.push(this.#other.watch(topics, listener));
    this.#watches.add(watch);
    return () => {
      this.#watches.delete(watch);
      for (const end of watch.ends) end();
    };
  }

  /** The bus that this one has beside its own during a move. */
  get #other(): FullBus | undefined {
    const sides = this.#sides;
    return sides?.to === this.#from ? sides.from : sides?.to;
  }

  get #current(): FullBus {
    return this.#isOver ? this.#sides!.to : this.#from;
  }

  #sideOf(queue: string): FullBus {
    return this.#isOver ? this.#sides!.to : (this.#sides?.of(queue) ?? this.#from);
  }

  /** What changes a queue beside publishing and consuming must not happen while it is copied. */
  async #tend<T>(queue: string, work: (bus: Bus) => Promise<T>): Promise<T> {
    if (this.#move?.holds(queue) === true) throw new Fault('unavailable', `The queue ${queue} is being moved to another bus; try again in a moment.`, { reason: 'queue_moving', origin: 'unsent', details: { retryAfterMs: 1_000 } });
    return this.#gate.pass(() => work(this.#sideOf(queue)));
  }

  async #start(): Promise<void> {
    await this.#from.start();
    if (this.#target === undefined) return;
    const target = this.#target;
    try {
      await this.#open(target);
    } catch (thrown) {
      await target.bus.stop(CLOSING_MS);
      // While everything lies in the old bus, work can go on without the new one.
      if (target.moved === undefined || target.moved.length > 0 || target.isBack === true) throw thrown;
      this.#log.error({ err: thrown }, 'the bus that the messages are to be moved to cannot be opened; they stay where they are');
      return;
    }
    this.#move!.run();
  }

  async #stop(deadlineMs: number): Promise<void> {
    const end = this.#clock.now() + deadlineMs;
    this.#move?.abandon();
    this.#gate.close(stopping());
    if (this.#move !== undefined) await inTime(this.#move.settled, deadlineMs * SETTLING_SHARE, this.#clock, 'The move does not settle.').catch(() => {});
    const leftMs = Math.max(end - this.#clock.now(), 0);
    await Promise.all([this.#from.stop(leftMs), this.#other?.stop(leftMs)]);
  }

  async #open(target: MoveTarget): Promise<void> {
    if (this.#sides !== undefined || this.#beginning !== undefined) throw new Fault('conflict', 'A move is under way already.', { reason: 'move_under_way' });
    const begun = Promise.withResolvers<void>();
    this.#beginning = begun.promise;
    try {
      await target.bus.start();
      // Whoever declares a queue at this moment finishes first.
      await this.#gate.empty(BEGIN_MS);
      if (this.#life.state !== 'starting' && this.#life.state !== 'running') throw stopping();
      await this.#begin(target);
    } finally {
      this.#beginning = undefined;
      begun.resolve();
    }
  }

  async #begin({ bus: other, ledger, moved, isBack = false }: MoveTarget): Promise<void> {
    if (moved === undefined) await this.#requireFit(other);
    const [from, to] = isBack ? [other, this.#from] : [this.#from, other];
    const sides = new BusSides(from, to, moved ?? []);
    for (const settings of await from.contents.queues()) {
      await to.declare(settings);
      sides.learn(settings);
    }
    // One that first came up during the move is known to the new bus alone.
    for (const settings of await to.contents.queues()) if (sides.hasMoved(settings.name)) sides.learn(settings);
    if (moved === undefined) await ledger.note([]);
    for (const { topics, listener, ends } of this.#watches) ends.push(other.watch(topics, listener));
    this.#follow(sides, ledger);
  }

  #follow(sides: BusSides, ledger: MoveLedger): void {
    this.#ledger = ledger;
    this.#sides = sides;
    this.#move = new BusMove({ sides, ledger, gate: this.#gate, consumersOf: (queue) => [...this.#consumers].filter((one) => one.queue === queue), clock: this.#clock, log: this.#log, over: () => (this.#isOver = true) });
  }

  async #requireFit(to: FullBus): Promise<void> {
    const { maxMessageBytes: most = Infinity } = to.capabilities;
    if (most < (this.#from.capabilities.maxMessageBytes ?? Infinity)) throw new Fault('invalid', `The new bus takes messages of ${most} bytes at most, fewer than the old one; raise its maxMessageBytes.`, { reason: 'target_too_small' });
    const used = (await to.inspect()).find((state) => sumOf(state) > 0);
    if (used !== undefined) throw new Fault('conflict', `There are ${sumOf(used)} messages in the queue ${used.name} of ${to.contents.place}; only an empty bus can take others over.`, { reason: 'target_not_empty' });
  }

  /** A queue that is new during a move: nothing of it lies in the old bus. */
  async #addMoved(sides: BusSides, queue: string): Promise<void> {
    sides.move(queue);
    try {
      await this.#ledger!.note(sides.moved);
    } catch (thrown) {
      sides.moveBack(queue);
      throw thrown;
    }
  }
}

function stopping(): Fault {
  return new Fault('unavailable', 'The bus is stopping.', { reason: 'stopped', origin: 'unsent' });
}
