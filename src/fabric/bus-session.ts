import type { Clock, EpochMs } from '../kernel/clock.ts';
import { Fault } from '../kernel/fault.ts';
import type { Bus, Consumer, Incoming, Outcome } from '../ports/bus.ts';
import type { Ending, Taken } from './bus-contract.ts';
import { Poll } from './poll.ts';

/** What one answer carries at most, its first message apart. */
const MESSAGES_AT_ONCE = 256;
const CHARACTERS_AT_ONCE = 1024 * 1024;
const MOST_CONSUMERS = 1_000;
/** How long the local bus may take to get back what a closed session had. */
const CLOSE_MS = 1_000;

/** A message that the local bus has handed to this session, until its outcome is known. */
interface Flight {
  readonly delivery: number;
  readonly consumer: string;
  readonly message: Incoming;
  readonly resolve: (outcome: Outcome) => void;
}

export function sessionLost(): Fault {
  return new Fault('not_found', 'This session is closed; what it held has gone back to its queues. Begin a new one.', { reason: 'session_lost' });
}

/**
 * What one other process consumes. A consumer there is a consumer of the local bus here, whose handler waits for the
 * outcome from there: so order, owners, concurrency, pauses and tries are the local bus's own.
 *
 * Answers are numbered and the next take says which one arrived, so that one that was lost is given again. What was
 * never in an answer goes back untried when the session ends; what was counts as interrupted.
 */
export class BusSession {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #consumers = new Map<string, Promise<Consumer>>();
  readonly #flights = new Map<number, Flight>();
  /** Of those, in no answer yet. */
  #waiting: Flight[] = [];
  /** In the last answer, which nobody has said to have arrived. */
  #answered: Flight[] = [];
  #batch = 0;
  #deliveries = 0;
  #poll: Poll | undefined;
  #closed = false;
  /** Since when nobody asks for messages. */
  silentSince: EpochMs;

  constructor(bus: Bus, clock: Clock) {
    this.#bus = bus;
    this.#clock = clock;
    this.silentSince = clock.now();
  }

  get consumers(): number {
    return this.#consumers.size;
  }

  /** The same consumer twice is opened once. */
  async consume(id: string, queue: string, concurrency: number): Promise<void> {
    this.#requireOpen();
    let opening = this.#consumers.get(id);
    if (opening === undefined) {
      if (this.#consumers.size >= MOST_CONSUMERS) throw new Fault('exhausted', `A process may have ${MOST_CONSUMERS} consumers.`, { reason: 'too_many_sessions' });
      opening = this.#bus.consume(queue, { concurrency }, (message) => this.#hand(id, message));
      this.#consumers.set(id, opening);
      opening.catch(() => this.#consumers.delete(id));
    }
    await opening;
  }

  async take(after: number, untilMs: EpochMs, signal: () => AbortSignal): Promise<Taken> {
    this.#requireOpen();
    if (after !== this.#batch && after !== this.#batch - 1) throw sessionLost();
    // Whoever asked before has let go of it.
    this.#poll?.end();
    this.#poll = undefined;
    this.silentSince = Infinity;
    if (after < this.#batch) return this.#answer(this.#answered.filter(({ delivery }) => this.#flights.has(delivery)));
    this.#answered = [];
    if (this.#waiting.length > 0) return this.#next();
    const poll = new Poll(this.#clock, untilMs, signal());
    this.#poll = poll;
    await poll.over;
    if (this.#poll !== poll) return { batch: after, messages: [] };
    this.#poll = undefined;
    if (this.#closed) throw sessionLost();
    if (poll.outcome === 'woken') return this.#next();
    return this.#answer([]);
  }

  settle(outcomes: readonly { readonly delivery: number; readonly outcome: Ending }[]): void {
    this.#requireOpen();
    for (const { delivery, outcome } of outcomes) {
      const flight = this.#flights.get(delivery);
      if (flight === undefined) continue;
      this.#flights.delete(delivery);
      flight.resolve(outcome.kind === 'untried' ? this.#untried() : (outcome as Outcome));
    }
  }

  /** Ends one consumer as it would end here. */
  async release(id: string, deadlineMs: number): Promise<void> {
    this.#requireOpen();
    const consumer = await this.#consumers.get(id)?.catch(() => undefined);
    const stopping = consumer?.stop(deadlineMs);
    this.#giveBack((flight) => flight.consumer === id);
    await stopping;
    for (const { delivery, consumer: owner } of this.#flights.values()) if (owner === id) this.#flights.delete(delivery);
    this.#consumers.delete(id);
  }

  /** Lets outcomes of what is under way come in until the deadline; hands out nothing more. */
  async drain(deadlineMs: number): Promise<void> {
    await Promise.all([...this.#consumers.keys()].map((id) => this.release(id, deadlineMs).catch(() => {})));
    await this.close();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll?.end();
    const consumers = await Promise.all([...this.#consumers.values()].map((opening) => opening.catch(() => undefined)));
    // First they stop: what goes back must not come here again.
    const stopping = consumers.map((consumer) => consumer?.stop(CLOSE_MS));
    this.#giveBack(() => true);
    for (const { resolve } of this.#flights.values()) resolve({ kind: 'interrupted' });
    this.#flights.clear();
    await Promise.all(stopping);
  }

  #hand(consumer: string, message: Incoming): Promise<Outcome> {
    if (this.#closed) return Promise.resolve(this.#untried());
    return new Promise((resolve) => {
      const flight: Flight = { delivery: ++this.#deliveries, consumer, message, resolve };
      this.#flights.set(flight.delivery, flight);
      this.#waiting.push(flight);
      this.#poll?.wake();
    });
  }

  #next(): Taken {
    let characters = 0;
    const end = this.#waiting.findIndex(({ message }, at) => at >= MESSAGES_AT_ONCE || ((characters += message.payload.length) > CHARACTERS_AT_ONCE && at > 0));
    this.#answered = this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
    this.#batch++;
    return this.#answer(this.#answered);
  }

  #answer(flights: readonly Flight[]): Taken {
    this.silentSince = this.#clock.now();
    return { batch: this.#batch, messages: flights.map(({ delivery, consumer, message }) => ({ delivery, consumer, message })) };
  }

  #giveBack(which: (flight: Flight) => boolean): void {
    const [back, kept]: [Flight[], Flight[]] = [[], []];
    for (const flight of this.#waiting) (which(flight) ? back : kept).push(flight);
    this.#waiting = kept;
    for (const { delivery, resolve } of back) {
      this.#flights.delete(delivery);
      resolve(this.#untried());
    }
  }

  /** At once and without a try used up. */
  #untried(): Outcome {
    return { kind: 'retry', reason: 'stopped: The consumer stopped before the handler was called.', notBefore: this.#clock.now() };
  }

  #requireOpen(): void {
    if (this.#closed) throw sessionLost();
  }
}
