import type { TestContext as Test } from 'node:test';
import { Connection, type Delivery } from '../../adapters/bus/activemq/connection.ts';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { busSharing } from '../../src/app/host/bus-sharing.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { newId } from '../../src/kernel/ids.ts';
import type { Bus } from '../../src/ports/bus.ts';
import type { ActiveMqServer } from './activemq.ts';
import { queueOf, sqliteAt, within } from './buses.ts';
import { testContext } from './context.ts';

/** The queue that a deployment for workers has. */
export const WORKER_QUEUE = 'worker.w';

/** A deployment with one queue for workers, and what a program of another language does there: frames, and nothing of ours. */
export function workerDeployment(t: Test, broker: Pick<ActiveMqServer, 'port'>, worker: object = {}, settings: object = {}) {
  const { activemq } = busDrivers;
  const prefix = `workers-${newId()}`;
  const parsed = activemq.settings.parse({ port: broker.port, prefix, heartbeatMs: 1_000, workers: { w: worker }, ...settings });
  return {
    prefix,
    async bus(change: object = {}): Promise<Bus> {
      const place = testContext();
      const bus = activemq.create(parsed, { ...place, openStorage: sqliteAt(place), sharing: busSharing(place) });
      t.after(async () => {
        await bus.stop(1_000);
        place.remove();
      });
      await bus.start();
      await bus.declare(queueOf(WORKER_QUEUE, change));
      return bus;
    },
    async program(): Promise<WorkerProgram> {
      const connection = await Connection.open(parsed, systemClock);
      t.after(() => connection.close());
      return new WorkerProgram(connection, prefix);
    },
  };
}

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

/** In the order in which they were given. */
export const idsGiven = ({ given }: WorkerProgram) => given.map(({ headers }) => headers.id);
