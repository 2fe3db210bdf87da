import type { Connection, Delivery } from '../../adapters/bus/activemq/connection.ts';
import { within } from './buses.ts';

/** What a program of another language does on a broker: frames, and nothing of ours but the connection. */
export class WorkerProgram {
  readonly connection: Connection;
  readonly #prefix: string;
  readonly given: Delivery[] = [];
  #waiters: (() => void)[] = [];

  constructor(connection: Connection, prefix: string) {
    this.connection = connection;
    this.#prefix = prefix;
  }

  works(queue: string, prefetch = 10): this {
    return this.reads(`work.${queue}`, prefetch);
  }

  reads(destination: string, prefetch = 10): this {
    this.connection.subscribe(`/queue/${this.#prefix}.${destination}`, { prefetch }, (delivery) => {
      this.given.push(delivery);
      for (const waiter of this.#waiters.splice(0)) waiter();
    });
    return this;
  }

  /** The `n`th that was given, from 1. */
  async nth(n: number, withinMs = 20_000): Promise<Delivery> {
    const enough = async () => {
      while (this.given.length < n) await new Promise<void>((resolve) => this.#waiters.push(resolve));
    };
    await within(withinMs, enough(), () => `${this.given.length} of ${n} were given`);
    return this.given[n - 1]!;
  }

  send(destination: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<void> {
    return this.connection.deliver([{ destination: `/queue/${this.#prefix}.${destination}`, headers, body: Buffer.from(body) }]);
  }

  /** In any order, so the acknowledgement comes behind it, as docs/workers.md asks. */
  async answer(delivery: Delivery, outcome: string, reason = ''): Promise<void> {
    await this.send('done', reason, { hand: delivery.headers.hand!, outcome });
    await this.connection.acknowledge([delivery]);
  }
}
