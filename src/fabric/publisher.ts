import type { Clock } from '../kernel/clock.ts';
import { Fault } from '../kernel/fault.ts';
import type { MessageDefinition, Publisher, PublishOptions } from '../kernel/message.ts';
import type { Bus } from '../ports/bus.ts';
import { requireValid, seal } from './envelope.ts';

/** Which messages a module may publish: those that its definition names. */
export function requireDeclared(module: string, publishes: ReadonlySet<string>, message: MessageDefinition<any>): void {
  if (!publishes.has(message.name)) {
    throw new Fault('internal', `Module ${module} publishes ${message.name} without naming it in its definition's "publishes".`, { reason: 'message_undeclared' });
  }
}

/** Straight to the bus, for what no state of the module's changes with. */
export class BusPublisher implements Publisher {
  readonly #module: string;
  readonly #publishes: ReadonlySet<string>;
  readonly #bus: Bus;
  readonly #clock: Clock;

  constructor(module: string, publishes: ReadonlySet<string>, bus: Bus, clock: Clock) {
    this.#module = module;
    this.#publishes = publishes;
    this.#bus = bus;
    this.#clock = clock;
  }

  async publish<P>(message: MessageDefinition<P>, payload: P, options: PublishOptions): Promise<void> {
    requireDeclared(this.#module, this.#publishes, message);
    requireValid(message, payload, 'internal');
    await this.#bus.publish([seal(message, payload, undefined, options, this.#clock.now())]);
  }

  async publishJson(message: MessageDefinition<any>, json: string, options: PublishOptions & { readonly key?: string }): Promise<void> {
    requireDeclared(this.#module, this.#publishes, message);
    await this.#bus.publish([seal(message, undefined, json, options, this.#clock.now())]);
  }
}
