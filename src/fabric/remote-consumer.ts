import type { Clock, EpochMs } from '../kernel/clock.ts';
import { newId } from '../kernel/ids.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Consumer, Handler, Incoming } from '../ports/bus.ts';
import { outcomeOf } from '../ports/handling.ts';
import type { Ending } from './bus-contract.ts';

/** What keeps a consumer connected. */
export interface ConsumerSession {
  settle(delivery: number, outcome: Ending, consumer: RemoteConsumer): void;
  /** Until the other side has what became of everything, or the time is over; a moment when there is nothing to tell. */
  release(consumer: RemoteConsumer, until: EpochMs): Promise<void>;
}

/** How long a message waits for handlers that outlived their session. */
const PLACE_MS = 5_000;

interface Flight {
  readonly message: Incoming;
  /** Under which number the present session knows it; undefined once the session that brought it is lost. */
  delivery: number | undefined;
  begun: boolean;
}

/**
 * A consumer in this process of a queue that is kept elsewhere. When its session is lost, handlers that run go on:
 * the message comes again, here or elsewhere. Here the running handler speaks for it, and what has the same key waits
 * for it, so that one process never handles a message twice at once, nor two of a key.
 */
export class RemoteConsumer implements Consumer {
  readonly id = newId();
  readonly queue: string;
  readonly concurrency: number;
  /** The other side knows of it. */
  isOpen = false;
  /** It did once, and must again. */
  wasOpen = false;
  readonly #handler: Handler;
  readonly #session: ConsumerSession;
  readonly #clock: Clock;
  readonly #log: Log;
  /** By the message's id. */
  readonly #flights = new Map<string, Flight>();
  #running = 0;
  #stopping: Promise<void> | undefined;

  constructor(queue: string, concurrency: number, handler: Handler, session: ConsumerSession, clock: Clock, log: Log) {
    this.queue = queue;
    this.concurrency = concurrency;
    this.#handler = handler;
    this.#session = session;
    this.#clock = clock;
    this.#log = log;
  }

  get isStopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** Holds messages of which nothing is known yet. */
  get isBusy(): boolean {
    return this.#flights.size > 0;
  }

  arrive(delivery: number, message: Incoming): void {
    const known = this.#flights.get(message.id);
    if (known !== undefined) {
      known.delivery = delivery;
      return;
    }
    if (this.isStopping) return this.#session.settle(delivery, { kind: 'untried' }, this);
    const flight: Flight = { message, delivery, begun: false };
    this.#flights.set(message.id, flight);
    if (this.#mayBegin(flight)) void this.#handle(flight);
    else this.#clock.after(PLACE_MS, () => this.#giveBack(flight));
  }

  /** Whether a handler here speaks for this message, though it may come to another consumer of the queue. */
  holds(id: string): boolean {
    return this.#flights.has(id);
  }

  /** Its session is lost: what has not begun will come again. */
  orphan(): void {
    this.isOpen = false;
    for (const [id, flight] of this.#flights) {
      if (flight.begun) flight.delivery = undefined;
      else this.#flights.delete(id);
    }
  }

  stop(deadlineMs: number): Promise<void> {
    return (this.#stopping ??= this.#stop(this.#clock.now() + deadlineMs));
  }

  async #stop(until: EpochMs): Promise<void> {
    // In the next turn, so that `isStopping` holds in all that follows.
    await undefined;
    for (const flight of this.#flights.values()) this.#giveBack(flight);
    await this.#session.release(this, until);
    this.#flights.clear();
  }

  /** One that waits for a place is not kept from other processes for as long as a handler may hang. */
  #giveBack(flight: Flight): void {
    const { begun, delivery, message } = flight;
    if (begun || this.#flights.get(message.id) !== flight) return;
    this.#flights.delete(message.id);
    if (delivery !== undefined) this.#session.settle(delivery, { kind: 'untried' }, this);
  }

  /** Beside handlers that outlived their session, new ones wait for a place, and for their key. */
  #mayBegin({ message: { key, workspace } }: Flight): boolean {
    if (this.#running >= this.concurrency) return false;
    if (key === null || this.#running === 0) return true;
    for (const { begun, delivery, message } of this.#flights.values()) {
      if (begun && delivery === undefined && message.key === key && message.workspace === workspace) return false;
    }
    return true;
  }

  async #handle(flight: Flight): Promise<void> {
    flight.begun = true;
    this.#running++;
    const outcome = await outcomeOf(this.#handler, flight.message, this.#log);
    this.#running--;
    // After a stop it is no longer ours.
    if (this.#flights.get(flight.message.id) !== flight) return;
    this.#flights.delete(flight.message.id);
    if (flight.delivery !== undefined) this.#session.settle(flight.delivery, outcome, this);
    if (this.#flights.size > this.#running) this.#beginWaiting();
  }

  #beginWaiting(): void {
    for (const flight of this.#flights.values()) if (!flight.begun && this.#mayBegin(flight)) void this.#handle(flight);
  }
}
