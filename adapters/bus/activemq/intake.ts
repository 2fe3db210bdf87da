import { setTimeout as pause } from 'node:timers/promises';
import type { Clock, Timer } from '../../../src/kernel/clock.ts';
import { Fault, toFault } from '../../../src/kernel/fault.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Bus, Outgoing } from '../../../src/ports/bus.ts';
import type { Connection, Delivery } from './connection.ts';
import { type Addresses, asSentIn, outgoingOf, refusedFrame, undeclaredFrame } from './worker-wire.ts';

const PREFETCH = 100;
/** What goes to the bus in one call. */
const BATCH_BYTES = 8 * 1024 * 1024;
const OUTAGE_RETRY_MS = 1_000;
/** Queues are declared by other processes, too. */
const TAKE_UP_MS = 5_000;

interface Sent {
  readonly delivery: Delivery;
  readonly message: Outgoing;
}

export interface IntakeOptions {
  readonly bus: Bus;
  readonly connection: Connection;
  readonly addresses: Addresses;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Takes what programs of other languages send in into the bus, in their order. The broker is told so only when the
 * log has it, and by the connection that the log is written by: whatever comes of a message stands there behind the
 * acknowledgement. So one that comes again is still on the bus, which knows its id, and is not stored twice.
 */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #end = new AbortController();
  /** Queues that are there, and what waited for them is being taken up. */
  readonly #takenUp = new Set<string>();
  #arrived: Sent[] = [];
  #running = false;
  #timer: Timer | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Until the connection ends. */
  open(): void {
    const { connection, addresses } = this.#options;
    for (const destination of [addresses.jobs, addresses.events]) connection.subscribe(`${destination}>`, { prefetch: PREFETCH }, (delivery) => this.#take(delivery));
    void connection.lost.then(() => this.close());
    void this.takeUp();
  }

  /** What was sent in for queues before they were declared. Callable at any time; looks by itself now and then. */
  async takeUp(): Promise<void> {
    const { bus, connection, addresses, clock } = this.#options;
    this.#timer?.cancel();
    const queues = await bus.inspect().catch(() => []);
    if (this.#end.signal.aborted) return;
    for (const { name } of queues) {
      if (this.#takenUp.has(name)) continue;
      this.#takenUp.add(name);
      connection.subscribe(addresses.undeclared(name), { prefetch: PREFETCH }, (delivery) => this.#take(asSentIn(delivery)));
    }
    this.#timer?.cancel();
    this.#timer = clock.after(TAKE_UP_MS, () => void this.takeUp());
  }

  /** What is not in the bus stays on the broker. */
  close(): void {
    this.#end.abort();
    this.#timer?.cancel();
  }

  #take(delivery: Delivery): void {
    const { addresses, clock } = this.#options;
    try {
      this.#arrived.push({ delivery, message: outgoingOf(delivery, addresses, clock.now()) });
      void this.#run();
    } catch (thrown) {
      this.#refuse(delivery, toFault(thrown));
    }
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    while (this.#arrived.length > 0 && !this.#end.signal.aborted) await this.#publish(this.#batch());
    this.#running = false;
  }

  #batch(): readonly Sent[] {
    let bytes = 0;
    const end = this.#arrived.findIndex(({ delivery }, at) => (bytes += delivery.body.length) > BATCH_BYTES && at > 0);
    return this.#arrived.splice(0, end === -1 ? this.#arrived.length : end);
  }

  /** All of them or, where the bus does not take them together, one after the other; waits while it takes none. */
  async #publish(batch: readonly Sent[]): Promise<void> {
    const { signal } = this.#end;
    while (!signal.aborted) {
      try {
        await this.#options.bus.publish(batch.map(({ message }) => message));
        // Without it they come again, and are known.
        this.#options.connection.acknowledge(batch.map(({ delivery }) => delivery)).catch(() => {});
        return;
      } catch (thrown) {
        const fault = toFault(thrown);
        const isTheirs = fault.code === 'invalid' || fault.code === 'not_found';
        if (batch.length > 1 && (isTheirs || fault.code === 'exhausted')) {
          for (const one of batch) await this.#publish([one]);
          return;
        }
        if (fault.code === 'not_found' && this.#keeps(batch[0]!)) return;
        if (isTheirs) return this.#refuse(batch[0]!.delivery, fault);
        await this.#wait(fault);
      }
    }
  }

  /** Until somebody declares the queue; false where it cannot. */
  #keeps({ delivery, message: { to } }: Sent): boolean {
    const { connection, addresses, log } = this.#options;
    const queue = 'queue' in to ? to.queue : to.topic;
    const frame = undeclaredFrame(delivery, queue, addresses);
    if (frame === undefined) return false;
    log.warn({ queue, messageId: delivery.headers.id ?? delivery.headers['message-id'] }, 'a program has sent in a message for a queue that nobody has declared; it is kept until somebody does');
    connection.deliver([frame], [delivery]).catch(() => {});
    return true;
  }

  /** Never with the payload: it may hold personal data. */
  #refuse(delivery: Delivery, fault: Fault): void {
    const { connection, addresses, log } = this.#options;
    log.warn({ destination: delivery.headers.destination, messageId: delivery.headers.id ?? delivery.headers['message-id'], reason: fault.reason }, 'a message that a program sent in is refused');
    connection.deliver([refusedFrame(delivery, fault, addresses)]).then(() => connection.acknowledge([delivery])).catch(() => {});
  }

  async #wait({ details: { retryAfterMs } }: Fault): Promise<void> {
    await pause(typeof retryAfterMs === 'number' ? retryAfterMs : OUTAGE_RETRY_MS, undefined, { signal: this.#end.signal, ref: false }).catch(() => {});
  }
}
