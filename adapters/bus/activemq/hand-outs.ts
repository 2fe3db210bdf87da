import type { Clock, Timer } from '../../../src/kernel/clock.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Handler, Incoming, Outcome } from '../../../src/ports/bus.ts';
import { Bundles } from './bundles.ts';
import type { Connection, Delivery } from './connection.ts';
import { type Addresses, unfit, workFrame } from './worker-wire.ts';

const PREFETCH = 100;
/** How long the broker may take to give back what no worker has: a share of the time that workers have, within bounds. */
const RECALL_SHARE = 0.1;
const RECALL_MS = { least: 1_000, most: 10_000 };
/** Those that run out of time together are taken back together: each time is a subscription more for the broker. */
const GATHER_MS = 50;
/** Before every worker. */
const FIRST = 127;
/** Of those that ran out of time: how many of a queue are kept from being given out by the broker once more. All that may be out, and what one header holds. */
const MOST_RECALLED = 200;
const REASON_BYTES = 8_000;

interface Hand {
  readonly queue: string;
  readonly end: (outcome: Outcome) => void;
  readonly withinMs: number;
  /** Runs while a worker may still answer. */
  timer: Timer | undefined;
}

/** A queue that is handed out, and what came back too late there. */
interface Desk {
  readonly queue: string;
  readonly recalled: string[];
  leave: (() => void) | undefined;
  /** Runs while the keeper's subscription is about to be made anew. */
  gathering: Timer | undefined;
}

export interface HandOutsOptions {
  readonly addresses: Addresses;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * What workers of other languages have to do. Each message goes to its work queue under a name of its own, its hand,
 * and the answer says which hand it speaks of: done, or not. A hand ends with its first answer, or when there is none
 * in time; what is said of it later counts for nothing.
 *
 * On every work queue the keeper itself is the first subscriber, for the hands that count for nothing: those of
 * keepers before, and those that ran out of time. So the broker gives them to no worker, unless one has them already.
 */
export class HandOuts {
  readonly #options: HandOutsOptions;
  /** Begins every hand of this keeper. */
  readonly #keeper = newId();
  readonly #desks = new Map<string, Desk>();
  readonly #hands = new Map<string, Hand>();
  #count = 0;
  #connection: Connection | undefined;
  #bundles: Bundles | undefined;
  #closed = false;
  #last: Timer | undefined;
  #waiters: (() => void)[] = [];

  constructor(options: HandOutsOptions) {
    this.#options = options;
  }

  /** Goes on over this connection: what was handed out over the one before is on the broker still. */
  open(connection: Connection): void {
    const bundles = new Bundles(connection);
    this.#connection = connection;
    this.#bundles = bundles;
    for (const desk of this.#desks.values()) this.#guard(desk);
    connection.subscribe(this.#options.addresses.done, { prefetch: PREFETCH }, (delivery) => {
      bundles.acknowledge(delivery).catch(() => {});
      this.#answered(delivery);
    });
    this.#wake();
  }

  /** What hands out a queue: it is done with a message when a worker is. Asked for again where the queue was not there yet. */
  handler(queue: string, withinMs: number): Handler {
    if (!this.#desks.has(queue)) {
      const desk: Desk = { queue, recalled: [], leave: undefined, gathering: undefined };
      this.#desks.set(queue, desk);
      this.#guard(desk);
    }
    return (message) => this.#handOut(message, withinMs);
  }

  /** Takes back what no worker has; what is then still out may be answered for so long. Nothing more is handed out. */
  recall(deadlineMs: number): void {
    const { clock } = this.#options;
    this.#closed = true;
    this.#wake();
    for (const desk of this.#desks.values()) this.#guard(desk);
    this.#last = clock.after(deadlineMs, () => {
      for (const hand of [...this.#hands.keys()]) this.#end(hand, this.#untaken('stopped'));
    });
  }

  /** Somebody else hands out from now on. */
  close(): void {
    this.#closed = true;
    this.#last?.cancel();
    for (const { gathering } of this.#desks.values()) gathering?.cancel();
    for (const { timer } of this.#hands.values()) timer?.cancel();
    this.#hands.clear();
    this.#wake();
  }

  async #handOut(message: Incoming, withinMs: number): Promise<Outcome> {
    const problem = unfit(message.payload);
    if (problem !== undefined) return { kind: 'dead', reason: problem };
    const name = `${this.#keeper}.${++this.#count}`;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const hand: Hand = { queue: message.queue, end: resolve, withinMs, timer: undefined };
    this.#hands.set(name, hand);
    if (await this.#send(message, name)) this.#await(name, hand);
    else this.#end(name, this.#untaken('stopped'));
    return promise;
  }

  /** Answers whether the broker has it, after as many connections as it takes. */
  async #send(message: Incoming, hand: string): Promise<boolean> {
    const frame = workFrame(message, hand, this.#options.addresses);
    for (;;) {
      const bundles = await this.#connected();
      if (bundles === undefined) return false;
      try {
        await bundles.deliver(frame);
        return true;
      } catch {
        // Perhaps the broker has it: twice under one name is one message, of which the first answer counts.
      }
    }
  }

  async #connected(): Promise<Bundles | undefined> {
    while (!this.#closed) {
      if (this.#connection?.open === true) return this.#bundles;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    return undefined;
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  #await(name: string, hand: Hand): void {
    const { clock } = this.#options;
    if (!this.#hands.has(name)) return;
    hand.timer?.cancel();
    hand.timer = clock.after(hand.withinMs, () => this.#late(name, hand));
  }

  /** No try is used where the broker still had it: it waited for a worker. */
  #late(name: string, hand: Hand): void {
    const { clock } = this.#options;
    // Where the broker is away, a worker may have answered it.
    if (this.#connection?.open !== true) return this.#await(name, hand);
    const desk = this.#desks.get(hand.queue)!;
    desk.recalled.push(name);
    if (desk.recalled.length > MOST_RECALLED) desk.recalled.shift();
    desk.gathering ??= clock.after(GATHER_MS, () => {
      desk.gathering = undefined;
      this.#guard(desk);
    });
    const recallMs = Math.min(Math.max(hand.withinMs * RECALL_SHARE, RECALL_MS.least), RECALL_MS.most);
    hand.timer = clock.after(GATHER_MS + recallMs, () => this.#end(name, { kind: 'interrupted' }));
  }

  /** The keeper's own subscription to a work queue. The old one ends when there is the new one. */
  #guard(desk: Desk): void {
    const connection = this.#connection;
    if (connection?.open !== true) return;
    const nothing = [`hand NOT LIKE '${this.#keeper}.%'`, ...(desk.recalled.length === 0 ? [] : [`hand IN (${desk.recalled.map((hand) => `'${hand}'`).join()})`])].join(' OR ');
    const leave = connection.subscribe(this.#options.addresses.work(desk.queue), { prefetch: PREFETCH, auto: true, priority: FIRST, ...(this.#closed ? {} : { selector: nothing }) }, ({ headers }) => {
      // A worker had it before and went away, perhaps because of it.
      this.#end(headers.hand ?? '', headers.redelivered === 'true' ? { kind: 'interrupted' } : this.#untaken('not_taken'));
    });
    desk.leave?.();
    desk.leave = leave;
  }

  #answered({ headers: { hand: name = '', outcome = '' }, body }: Delivery): void {
    const hand = this.#hands.get(name);
    if (hand === undefined) return this.#options.log.debug({ hand: name, outcome }, 'a worker answered too late, or twice');
    const reason = body.subarray(0, REASON_BYTES).toString();
    if (outcome === 'working') this.#await(name, hand);
    else if (outcome === 'done') this.#end(name, { kind: 'done' });
    else if (outcome === 'retry' || outcome === 'dead') this.#end(name, { kind: outcome, reason });
    else this.#end(name, { kind: 'retry', reason: `The worker answered ${JSON.stringify(outcome)}, which is neither done, retry, dead nor working.` });
  }

  #end(name: string, outcome: Outcome): void {
    const hand = this.#hands.get(name);
    if (hand === undefined) return;
    this.#hands.delete(name);
    hand.timer?.cancel();
    hand.end(outcome);
  }

  /** A retry at a time of its own counts as no try. */
  #untaken(why: 'stopped' | 'not_taken'): Outcome {
    const reason = why === 'stopped' ? 'stopped: The host stopped before a worker had answered.' : 'not_taken: No worker took it in time.';
    return { kind: 'retry', reason, notBefore: this.#options.clock.now() };
  }
}
