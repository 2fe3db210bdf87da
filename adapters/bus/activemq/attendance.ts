import type { Clock } from '../../../src/kernel/clock.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import { Connection } from './connection.ts';
import type { ActiveMqSettings } from './driver.ts';

const PREFETCH = 100;
/** The keeper itself subscribes to each work queue. */
const KEEPER = 1;

/**
 * Which work queues have a worker, as the broker announces it (its advisory messages), beginning with those that
 * subscribe already. Over a connection of its own, since a broker without the libraries for announcements ends the
 * one that asks for them; then every queue counts as attended.
 */
export class Attendance {
  readonly #settings: ActiveMqSettings;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #subscribers = new Map<string, number>();
  readonly #end = new AbortController();

  constructor(settings: ActiveMqSettings, clock: Clock, log: Log) {
    this.#settings = settings;
    this.#clock = clock;
    this.#log = log;
  }

  /** False when it is known that no worker is there. */
  has(queue: string): boolean {
    return (this.#subscribers.get(queue) ?? Infinity) > KEEPER;
  }

  /** Looks until that connection ends, or `close`. */
  async open(): Promise<void> {
    const { signal } = this.#end;
    const announced = `/topic/ActiveMQ.Advisory.Consumer.Queue.${this.#settings.prefix}.work.`;
    try {
      const connection = await Connection.open(this.#settings, this.#clock, signal);
      signal.addEventListener('abort', () => connection.close(), { once: true });
      connection.subscribe(`${announced}>`, { prefetch: PREFETCH, auto: true }, ({ headers: { destination = '', consumerCount } }) => {
        this.#subscribers.set(destination.slice(announced.length), Number(consumerCount ?? Infinity));
      });
      throw await connection.lost;
    } catch (err) {
      this.#subscribers.clear();
      if (!signal.aborted) this.#log.debug({ err }, 'the broker does not tell which queues have workers');
    }
  }

  close(): void {
    this.#end.abort();
  }
}
