import type { Clock, Timer } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { Connection, Delivery } from './connection.ts';

/** What stands in the token: whose copy of the messages is complete, and which log tells the others how to get one. */
export interface Charge {
  /** The copy of the database that has everything. */
  readonly keeper: string;
  /** The log that has everything. */
  readonly log: string;
  /** The last segment of what it began with. */
  readonly base: number;
  readonly waste: Waste | null;
}

/** A log that is worth nothing: replaced, or not yet whole, and then nobody knows where it ends. */
export interface Waste {
  readonly log: string;
  /** The last segments. */
  readonly base: number | null;
  readonly tail: number | null;
}

const NUDGE_MS = 1_000;
const PREFETCH = 100;

/**
 * The office of keeping a deployment's messages. One persistent message, the token, lies in a queue of its own, and
 * the broker gives it to one subscriber at a time: who has it holds the office until the connection ends. The broker
 * takes nothing more from a connection that it has ended, so that what a keeper writes by the connection of its
 * office is written in office.
 *
 * A queue without its token looks like one whose token another has. So candidates send nudges: only the one whose
 * turn it is receives any. A last one, sent when the turn has come, shows that nothing is left in front of it: if the
 * token has not come by then, there is none.
 */
export class Office {
  readonly connection: Connection;
  readonly #destination: string;
  #token: Delivery | undefined;
  #charge: Charge | undefined;
  #arrived: (() => void) | undefined;

  private constructor(connection: Connection, destination: string) {
    this.connection = connection;
    this.#destination = destination;
  }

  /** Resolves when the office is held, however long another holds it. Rejects when the connection ends or with `cancelled`. */
  static async seek(connection: Connection, prefix: string, clock: Clock, signal: AbortSignal): Promise<Office> {
    const office = new Office(connection, `/queue/${prefix}.keeper`);
    const held = Promise.withResolvers<void>();
    const last = newId();
    let turn = false;
    let nudging: Timer | undefined;
    const cancel = (): void => held.reject(new Fault('cancelled', 'The bus is stopping.', { origin: 'unsent' }));
    const nudge = (name: string): void => {
      connection.post({ destination: office.#destination, headers: { nudge: name }, body: Buffer.alloc(0) });
      nudging = clock.at(clock.now() + NUDGE_MS, () => nudge(name));
    };
    connection.subscribe(office.#destination, { prefetch: PREFETCH, exclusive: true }, (delivery) => {
      const { nudge: name } = delivery.headers;
      if (name === undefined) office.#take(delivery);
      else connection.acknowledge([delivery]).catch(() => {});
      if (name === last) return held.resolve();
      if (turn) return;
      turn = true;
      nudging?.cancel();
      nudge(last);
    });
    signal.addEventListener('abort', cancel, { once: true });
    nudge(newId());
    try {
      if (signal.aborted) cancel();
      await connection.unlessLost(held.promise);
    } finally {
      (nudging as Timer | undefined)?.cancel();
      signal.removeEventListener('abort', cancel);
    }
    return office;
  }

  /** Undefined when there never was a keeper. */
  get charge(): Charge | undefined {
    return this.#charge;
  }

  get held(): boolean {
    return this.connection.open;
  }

  async change(charge: Charge): Promise<void> {
    const { promise: came, resolve } = Promise.withResolvers<void>();
    this.#arrived = resolve;
    const body = Buffer.from(JSON.stringify(charge));
    await this.connection.deliver([{ destination: this.#destination, body }], this.#token === undefined ? [] : [this.#token]);
    await this.connection.unlessLost(came);
  }

  #take(delivery: Delivery): void {
    this.#token = delivery;
    this.#charge = JSON.parse(delivery.body.toString()) as Charge;
    this.#arrived?.();
  }
}
