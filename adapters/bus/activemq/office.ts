import { z } from 'zod';
import type { Clock, Timer } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { Connection, Delivery } from './connection.ts';
import { Addresses, refusedFrame } from './worker-wire.ts';

/** A log that is worth nothing: replaced, or not yet whole, and then nobody knows where it ends. */
const Waste = z.object({
  log: z.string(),
  /** The last segments. */
  base: z.int().nullable(),
  tail: z.int().nullable(),
});

/** What stands in the token: whose copy of the messages is complete, and which log tells the others how to get one. */
const Charge = z.object({
  /** The copy of the database that has everything. */
  keeper: z.string(),
  /** The log that has everything. */
  log: z.string(),
  /** The last segment of what it began with. */
  base: z.int(),
  waste: Waste.nullable(),
});
export type Charge = Readonly<z.infer<typeof Charge>>;

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
  readonly #addresses: Addresses;
  readonly #destination: string;
  #token: Delivery | undefined;
  #charge: Charge | undefined;
  #arrived: (() => void) | undefined;

  private constructor(connection: Connection, prefix: string) {
    this.connection = connection;
    this.#addresses = new Addresses(prefix);
    this.#destination = `/queue/${prefix}.keeper`;
  }

  /** Resolves when the office is held, however long another holds it. Rejects when the connection ends or with `cancelled`. */
  static async seek(connection: Connection, prefix: string, clock: Clock, signal: AbortSignal): Promise<Office> {
    const office = new Office(connection, prefix);
    const held = Promise.withResolvers<void>();
    const last = newId();
    let turn = false;
    let nudging: Timer | undefined;
    const cancel = (): void => held.reject(new Fault('cancelled', 'The bus is stopping.', { origin: 'unsent' }));
    const nudge = (name: string): void => {
      connection.post({ destination: office.#destination, headers: { nudge: name }, body: Buffer.alloc(0) });
      nudging = clock.after(NUDGE_MS, () => nudge(name));
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

  /** Resolves when the broker has said that the office is held still. Faults: `unavailable`. */
  async confirm(): Promise<void> {
    await this.connection.deliver([{ destination: this.#destination, headers: { nudge: newId() }, body: Buffer.alloc(0) }]);
  }

  async change(charge: Charge): Promise<void> {
    const { promise: came, resolve } = Promise.withResolvers<void>();
    this.#arrived = resolve;
    const body = Buffer.from(JSON.stringify(charge));
    await this.connection.deliver([{ destination: this.#destination, body }], this.#token === undefined ? [] : [this.#token]);
    await this.connection.soon(came);
  }

  #take(delivery: Delivery): void {
    const charge = chargeOf(delivery);
    if (charge === undefined) return this.#refuse(delivery);
    this.#token = delivery;
    this.#charge = charge;
    this.#arrived?.();
  }

  /** Whoever put it here has no business here; it must not stand in the token's way. */
  #refuse(delivery: Delivery): void {
    const fault = new Fault('invalid', 'It is no token.', { reason: 'token_invalid' });
    this.connection.deliver([refusedFrame(delivery, fault, this.#addresses)]).then(() => this.connection.acknowledge([delivery])).catch(() => {});
  }
}

function chargeOf({ body }: Delivery): Charge | undefined {
  try {
    return Charge.parse(JSON.parse(body.toString()));
  } catch {
    return undefined;
  }
}
