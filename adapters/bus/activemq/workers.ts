import type { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Bus } from '../../../src/ports/bus.ts';
import { Attendance } from './attendance.ts';
import type { Connection } from './connection.ts';
import type { ActiveMqSettings } from './driver.ts';
import { HandOuts } from './hand-outs.ts';
import { Intake } from './intake.ts';
import { Addresses } from './worker-wire.ts';

/** Of the time that a stop may take, what workers get to answer. */
const ANSWERING_SHARE = 0.7;

export interface WorkersOptions {
  /** Of the keeper. */
  readonly bus: Bus;
  readonly settings: ActiveMqSettings;
  readonly clock: Clock;
  readonly log: Log;
}

/** How the process that keeps the messages serves programs of other languages: docs/workers.md. */
export class Workers {
  readonly #options: WorkersOptions;
  readonly #addresses: Addresses;
  readonly #handOuts: HandOuts;
  readonly #opened = new Set<string>();
  #intake: Intake | undefined;
  #attendance: Attendance | undefined;
  #open = false;

  constructor(options: WorkersOptions) {
    const { settings, clock, log } = options;
    this.#options = options;
    this.#addresses = new Addresses(settings.prefix);
    this.#handOuts = new HandOuts({ addresses: this.#addresses, clock, log });
  }

  /** Until the connection ends; then again with the next one. */
  async attach(connection: Connection): Promise<void> {
    const { bus, settings, clock, log } = this.#options;
    this.#handOuts.open(connection);
    this.#open = true;
    await this.handOut();
    this.#attendance?.close();
    this.#attendance = undefined;
    if (Object.keys(settings.workers).length > 0) {
      this.#attendance = new Attendance(settings, clock, log);
      void this.#attendance.open();
    }
    this.#intake = new Intake({ bus, connection, addresses: this.#addresses, clock, log });
    this.#intake.open();
  }

  /** Hands out what the configuration names and somebody has declared by now, and takes up what waited for that. */
  async handOut(): Promise<void> {
    const { bus, settings } = this.#options;
    if (!this.#open) return;
    void this.#intake?.takeUp();
    for (const [name, { concurrency, answerWithinMs }] of Object.entries(settings.workers)) {
      const queue = workerQueueName(name);
      if (this.#opened.has(queue)) continue;
      this.#opened.add(queue);
      try {
        await bus.consume(queue, { concurrency, isAttended: () => this.#attendance?.has(queue) ?? true }, this.#handOuts.handler(queue, answerWithinMs));
      } catch (thrown) {
        this.#opened.delete(queue);
        if (!Fault.is(thrown) || thrown.code !== 'not_found') throw thrown;
      }
    }
  }

  /** Takes nothing more, and takes back what no worker has yet; before the bus stops. */
  stop(deadlineMs: number): void {
    this.#intake?.close();
    this.#handOuts.recall(deadlineMs * ANSWERING_SHARE);
  }

  /** Another process keeps the messages. */
  close(): void {
    this.#open = false;
    this.#attendance?.close();
    this.#intake?.close();
    this.#handOuts.close();
  }
}

/** The queue of what `bus.workers` names so. */
export function workerQueueName(name: string): string {
  return `worker.${name}`;
}
