import type { Clock } from '../kernel/clock.ts';
import { type Deadline, deadlines } from '../kernel/deadline.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import type { MessageDefinition, Publisher, PublishOptions } from '../kernel/message.ts';
import type { Bus, Outgoing } from '../ports/bus.ts';
import { requireValid, seal } from './envelope.ts';
import type { OutboxStore } from './outbox.ts';

/** Which messages a module may publish: those that its definition names. */
export function requireDeclared(module: string, publishes: ReadonlySet<string>, message: MessageDefinition<any>): void {
  if (!publishes.has(message.name)) {
    throw new Fault('internal', `Module ${module} publishes ${message.name} without naming it in its definition's "publishes".`, { reason: 'message_undeclared' });
  }
}

/** How long the bus may take before a message goes by way of the database. */
const PATIENCE_MS = 2_000;

export interface BusPublisherOptions {
  readonly module: string;
  readonly publishes: ReadonlySet<string>;
  readonly bus: Bus;
  /** Where messages wait that the bus does not take just now. */
  readonly outbox: Pick<OutboxStore<unknown>, 'keep'>;
  readonly clock: Clock;
}

/**
 * Straight to the bus, for what no state of the module's changes with; by way of the module's outbox while the bus is
 * away, or silent. What a silent one has taken after all is then published twice under one id.
 */
export class BusPublisher implements Publisher {
  readonly #options: BusPublisherOptions;
  /** Messages that the bus has had for too long. */
  #overdue = 0;

  constructor(options: BusPublisherOptions) {
    this.#options = options;
  }

  async publish<P>(message: MessageDefinition<P>, payload: P, options: PublishOptions): Promise<void> {
    const { module, publishes, clock } = this.#options;
    requireDeclared(module, publishes, message);
    requireValid(message, payload, 'internal');
    await this.#hand(seal(message, payload, undefined, options, clock.now()));
  }

  async publishJson(message: MessageDefinition<any>, json: string, options: PublishOptions & { readonly key?: string }): Promise<void> {
    const { module, publishes, clock } = this.#options;
    requireDeclared(module, publishes, message);
    await this.#hand(seal(message, undefined, json, options, clock.now()));
  }

  async #hand(message: Outgoing): Promise<void> {
    const { bus, outbox } = this.#options;
    // While one waits the others do not: what waits is held in memory.
    const mayAnswer = bus.problem === undefined && this.#overdue === 0;
    if (!mayAnswer || !(await this.#takenBy(bus, message))) await outbox.keep(message);
  }

  /** False when the bus is away, or has not answered in time. */
  #takenBy(bus: Bus, message: Outgoing): Promise<boolean> {
    return new Promise((resolve, reject) => {
      let isOverdue = false;
      const late: Deadline = {
        slot: 0,
        index: -1,
        expire: () => {
          isOverdue = true;
          this.#overdue++;
          resolve(false);
        },
      };
      // One on this machine is as slow as the disk is, which the outbox would wait for too.
      if (bus.capabilities.spansHosts) deadlines.add(late, Date.now() + PATIENCE_MS);
      const end = (): void => {
        deadlines.remove(late);
        if (isOverdue) this.#overdue--;
      };
      bus.publish([message]).then(
        () => {
          end();
          resolve(true);
        },
        (thrown: unknown) => {
          end();
          if (toFault(thrown).code === 'unavailable') resolve(false);
          else reject(thrown as Error);
        },
      );
    });
  }
}
