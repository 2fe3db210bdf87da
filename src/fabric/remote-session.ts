import type { EpochMs } from '../kernel/clock.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import { newId } from '../kernel/ids.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Handler, Incoming } from '../ports/bus.ts';
import { type BusCaller, isAway, isSessionLost } from './bus-caller.ts';
import type { Ending, Taken } from './bus-contract.ts';
import { type ConsumerSession, RemoteConsumer } from './remote-consumer.ts';

const OPEN_MS = 5_000;
const TAKE_MS = 25_000;
const SETTLE_MS = 5_000;
const OUTCOMES_AT_ONCE = 512;
/** Longer reasons are cut by the bus all the same. */
const REASON_CHARACTERS = 2_000;
const FIRST_PAUSE_MS = 20;
const MOST_PAUSE_MS = 1_000;
/** How long a consumer that holds nothing waits for the other side to hear of its end. */
const FAREWELL_MS = 1_000;
/** What the other side is left of a stopping consumer's time for taking back what it holds, and what share at most. */
const GIVE_BACK_MS = 500;
const GIVE_BACK_SHARE = 0.1;

/** What became of a message, until the other side has it. */
interface Told {
  readonly delivery: number;
  readonly outcome: Ending;
  /** Of which consumer here; undefined when it had ended before the message came. */
  readonly consumer: RemoteConsumer | undefined;
}

/**
 * Everything that this process consumes from the host that keeps the messages: one take always under way for all
 * consumers together, outcomes gathered per turn of the event loop. Lost connections change nothing as long as the
 * other side keeps the session; when it does not, all consumers begin anew in another one.
 */
export class RemoteSession implements ConsumerSession {
  readonly #caller: BusCaller;
  readonly #log: Log;
  readonly #wayMs: number;
  /** Declares queues that the other side has forgotten. */
  readonly #redeclare: (queue: string, stopped: AbortSignal) => Promise<boolean>;
  readonly #consumers = new Map<string, RemoteConsumer>();
  /** Ended here, and being ended there. */
  readonly #strays = new Set<string>();
  readonly #ended = new AbortController();
  /** Of the take under way. */
  #take = new AbortController();
  #id = newId();
  #begins = true;
  #after = 0;
  #outcomes: Told[] = [];
  /** Those, and what is on its way. */
  readonly #untold = new Set<Told>();
  /** Those that say farewell. */
  readonly #leaving = new Set<RemoteConsumer>();
  #flushing = false;
  /** Openings, one after the other: the first of a session begins it. */
  #opening: Promise<unknown> = Promise.resolve();
  #loop: Promise<void> | undefined;

  constructor(caller: BusCaller, log: Log, wayMs: number, redeclare: (queue: string, stopped: AbortSignal) => Promise<boolean>) {
    this.#caller = caller;
    this.#log = log;
    this.#wayMs = wayMs;
    this.#redeclare = redeclare;
  }

  async consume(queue: string, concurrency: number, handler: Handler, stopped: AbortSignal): Promise<RemoteConsumer> {
    const consumer = new RemoteConsumer(queue, concurrency, handler, this, this.#caller.clock, this.#log);
    this.#consumers.set(consumer.id, consumer);
    try {
      await this.#exclusive(() => this.#openAll(stopped, consumer));
    } catch (thrown) {
      this.#remove(consumer);
      throw thrown;
    }
    this.#run();
    return consumer;
  }

  settle(delivery: number, outcome: Ending, consumer?: RemoteConsumer): void {
    const told = { delivery, outcome: 'reason' in outcome ? { ...outcome, reason: outcome.reason.slice(0, REASON_CHARACTERS) } : outcome, consumer };
    this.#untold.add(told);
    this.#outcomes.push(told);
    this.#flushSoon();
  }

  async release(consumer: RemoteConsumer, until: EpochMs): Promise<void> {
    const { clock } = this.#caller;
    this.#leaving.add(consumer);
    for (let first = true; first || (this.#isBusy(consumer) && clock.now() < until); first = false) {
      if (!first) await this.#caller.pause(Math.min(FIRST_PAUSE_MS * 5, until - clock.now()), this.#ended.signal);
      if (this.#ended.signal.aborted) break;
      const leftMs = Math.max(0, until - clock.now());
      const waitMs = this.#isBusy(consumer) ? leftMs : Math.min(leftMs, FAREWELL_MS);
      try {
        if (consumer.isOpen) await this.#farewell(consumer, waitMs);
        else if (!this.#isBusy(consumer)) break;
        if (consumer.isOpen) break;
      } catch (thrown) {
        if (isSessionLost(thrown)) consumer.orphan();
        else if (!isAway(toFault(thrown))) this.#log.warn({ queue: consumer.queue, err: thrown }, 'a consumer was not ended at the bus; it ends when this process falls silent there');
      }
    }
    this.#leaving.delete(consumer);
    this.#remove(consumer);
  }

  async stop(deadlineMs: number): Promise<void> {
    await Promise.all([...this.#consumers.values()].map((consumer) => consumer.stop(deadlineMs)));
    this.#ended.abort();
    this.#take.abort(new Fault('cancelled', 'The bus is stopping.'));
    await this.#loop;
  }

  /** Also without time to wait for the answer the other side is told. */
  async #farewell({ id }: RemoteConsumer, waitMs: number): Promise<void> {
    const deadlineMs = waitMs - Math.min(GIVE_BACK_MS, waitMs * GIVE_BACK_SHARE);
    const answered = new AbortController();
    const released = this.#caller.stub.release({ session: this.#id, consumer: id, deadlineMs }, this.#caller.repeatable(Math.max(waitMs, FAREWELL_MS))).finally(() => answered.abort());
    await Promise.race([released, this.#caller.pause(waitMs + this.#wayMs, answered.signal)]);
    released.catch(() => {});
  }

  /** Holds messages, or the other side does not have all their outcomes. */
  #isBusy(consumer: RemoteConsumer): boolean {
    if (consumer.isBusy) return true;
    for (const told of this.#untold) if (told.consumer === consumer) return true;
    return false;
  }

  #remove(consumer: RemoteConsumer): void {
    this.#consumers.delete(consumer.id);
    if (this.#consumers.size > 0) return;
    this.#forget();
    this.#take.abort(new Fault('cancelled', 'Nothing is consumed any more.'));
  }

  /** What was held is no longer ours; the next opening begins another session. */
  #forget(): void {
    this.#id = newId();
    this.#begins = true;
    this.#after = 0;
    this.#outcomes = [];
    this.#untold.clear();
    for (const consumer of this.#consumers.values()) consumer.orphan();
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#opening.then(work);
    this.#opening = result.catch(() => {});
    return result;
  }

  async #openAll(stopped: AbortSignal, newcomer?: RemoteConsumer): Promise<void> {
    for (;;) {
      const next = [...this.#consumers.values()].find((consumer) => !consumer.isOpen && !consumer.isStopping && (consumer.wasOpen || consumer === newcomer));
      if (next === undefined) return;
      try {
        await this.#caller.persist(() => this.#open(next, stopped), stopped);
      } catch (thrown) {
        if (isSessionLost(thrown)) this.#forget();
        else if (next === newcomer || stopped.aborted) throw thrown;
        else if (!(await this.#recover(next, thrown, stopped))) await this.#caller.pause(MOST_PAUSE_MS, stopped);
      }
    }
  }

  async #open(consumer: RemoteConsumer, stopped: AbortSignal): Promise<void> {
    const { id, queue, concurrency } = consumer;
    const session = this.#id;
    await this.#caller.stub.consume({ session, begins: this.#begins, consumer: id, queue, concurrency }, this.#caller.repeatable(OPEN_MS, stopped));
    if (session !== this.#id) return;
    this.#begins = false;
    consumer.isOpen = true;
    consumer.wasOpen = true;
  }

  /** A consumer that was there before must come back: its queue is declared again when the other side has lost it. */
  async #recover({ queue }: RemoteConsumer, thrown: unknown, stopped: AbortSignal): Promise<boolean> {
    if (toFault(thrown).reason === 'queue_not_found' && (await this.#redeclare(queue, stopped))) return true;
    this.#log.error({ queue, err: thrown }, 'the bus refuses a consumer that it had before; asked again');
    return false;
  }

  #run(): void {
    this.#loop ??= this.#takeOn().finally(() => {
      this.#loop = undefined;
      if (this.#consumers.size > 0 && !this.#ended.signal.aborted) this.#run();
    });
  }

  async #takeOn(): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS;
    this.#take = new AbortController();
    const { signal } = this.#take;
    while (!signal.aborted) {
      const session = this.#id;
      try {
        const taken = await this.#caller.stub.take({ session, after: this.#after }, this.#caller.once(TAKE_MS, signal));
        this.#caller.reached();
        pauseMs = FIRST_PAUSE_MS;
        if (session === this.#id) this.#arrived(taken);
      } catch (thrown) {
        if (signal.aborted) return;
        if (isSessionLost(thrown)) {
          await this.#renew(session);
          continue;
        }
        this.#caller.away(toFault(thrown));
        await this.#caller.pause(pauseMs * (0.5 + Math.random() / 2), signal);
        pauseMs = Math.min(2 * pauseMs, MOST_PAUSE_MS);
      }
    }
  }

  async #renew(lost: string): Promise<void> {
    // The bus closes a session with its last consumer, and may say so before it says that the consumer has ended.
    if ([...this.#consumers.values()].every((consumer) => this.#leaving.has(consumer))) return this.#caller.pause(FIRST_PAUSE_MS, this.#take.signal);
    await this.#exclusive(async () => {
      if (lost === this.#id) {
        this.#log.warn({ consumers: this.#consumers.size }, 'the bus has closed the session of this process; what it held is given out again');
        this.#forget();
      }
      await this.#openAll(this.#ended.signal);
    }).catch((thrown: unknown) => {
      if (!this.#ended.signal.aborted) this.#log.error({ err: thrown }, 'consumers were not opened again');
    });
  }

  #arrived({ batch, messages }: Taken): void {
    this.#after = batch;
    for (const { delivery, consumer, message } of messages) {
      const owner = this.#consumers.get(consumer);
      if (owner === undefined) this.#refuse(consumer, delivery);
      else this.#speakerOf(message.id, owner).arrive(delivery, message as Incoming);
    }
  }

  /** The consumer whose handler has outlived the session that brought it the message; else the one it came to. */
  #speakerOf(id: string, owner: RemoteConsumer): RemoteConsumer {
    for (const other of this.#consumers.values()) if (other !== owner && other.queue === owner.queue && other.holds(id)) return other;
    return owner;
  }

  /** Its consumer has ended here, and the other side has not heard of it. */
  #refuse(consumer: string, delivery: number): void {
    this.settle(delivery, { kind: 'untried' });
    if (this.#strays.has(consumer)) return;
    this.#strays.add(consumer);
    const released = this.#caller.stub.release({ session: this.#id, consumer, deadlineMs: 0 }, this.#caller.repeatable(SETTLE_MS));
    released.catch(() => {}).finally(() => this.#strays.delete(consumer));
  }

  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      while (this.#outcomes.length > 0) void this.#flush(this.#id, this.#outcomes.splice(0, OUTCOMES_AT_ONCE));
    });
  }

  async #flush(session: string, outcomes: Told[]): Promise<void> {
    try {
      await this.#caller.stub.settle({ session, outcomes: outcomes.map(({ delivery, outcome }) => ({ delivery, outcome })) }, this.#caller.repeatable(SETTLE_MS));
      this.#forgetTold(outcomes);
    } catch (thrown) {
      const fault = toFault(thrown);
      if (isSessionLost(thrown) || !isAway(fault)) this.#forgetTold(outcomes);
      if (isSessionLost(thrown) || session !== this.#id) return;
      if (!isAway(fault)) return this.#log.error({ outcomes: outcomes.length, err: thrown }, 'the bus refuses outcomes; their messages come again');
      await this.#caller.pause(FIRST_PAUSE_MS * 5, this.#ended.signal);
      if (session !== this.#id || this.#ended.signal.aborted) return;
      this.#outcomes.push(...outcomes);
      this.#flushSoon();
    }
  }

  #forgetTold(outcomes: readonly Told[]): void {
    for (const told of outcomes) this.#untold.delete(told);
  }
}
