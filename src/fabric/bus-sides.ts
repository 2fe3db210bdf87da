import { Fault } from '../kernel/fault.ts';
import type { Bus, BusContents, Outgoing, QueueSettings } from '../ports/bus.ts';

export type FullBus = Bus & { readonly contents: BusContents };

/** Two buses while queues go from one to the other: which queue lies where, and so where a message goes to. */
export class BusSides {
  readonly from: FullBus;
  readonly to: FullBus;
  readonly #moved: Set<string>;
  readonly #settings = new Map<string, QueueSettings>();
  readonly #byTopic = new Map<string, string[]>();

  constructor(from: FullBus, to: FullBus, moved: Iterable<string>) {
    this.from = from;
    this.to = to;
    this.#moved = new Set(moved);
  }

  /** The same two the other way round, each queue where it is. */
  get turned(): BusSides {
    const turned = new BusSides(this.to, this.from, this.unmoved);
    for (const settings of this.#settings.values()) turned.learn(settings);
    return turned;
  }

  /** Those that lie in the new bus. */
  get moved(): readonly string[] {
    return [...this.#moved];
  }

  /** Those that still lie in the old one. */
  get unmoved(): string[] {
    return [...this.#settings.keys()].filter((name) => !this.#moved.has(name));
  }

  get queues(): readonly string[] {
    return [...this.#settings.keys()];
  }

  knows(queue: string): boolean {
    return this.#settings.has(queue);
  }

  learn(settings: QueueSettings): void {
    this.#settings.set(settings.name, settings);
    this.#byTopic.clear();
    for (const { name, topics } of this.#settings.values()) {
      for (const topic of new Set(topics)) this.#byTopic.set(topic, [...this.subscribers(topic), name]);
    }
  }

  hasMoved(queue: string): boolean {
    return this.#moved.has(queue);
  }

  move(queue: string): void {
    this.#moved.add(queue);
  }

  moveBack(queue: string): void {
    this.#moved.delete(queue);
  }

  of(queue: string): FullBus {
    return this.#moved.has(queue) ? this.to : this.from;
  }

  subscribers(topic: string): readonly string[] {
    return this.#byTopic.get(topic) ?? [];
  }

  /** An event goes to each of its queues by name, since these may lie on different sides. */
  addressed(messages: readonly Outgoing[]): { readonly message: Outgoing; readonly queue: string }[] {
    return messages.flatMap((message) => {
      const { to } = message;
      if ('queue' in to) return [{ message, queue: to.queue }];
      return this.subscribers(to.topic).map((queue) => ({ message: { ...message, to: { queue } }, queue }));
    });
  }

  /** To the old bus first: it knows which queues there are. */
  async publish(addressed: readonly { readonly message: Outgoing; readonly queue: string }[]): Promise<void> {
    const here = addressed.filter(({ queue }) => !this.#moved.has(queue)).map(({ message }) => message);
    const there = addressed.filter(({ queue }) => this.#moved.has(queue)).map(({ message }) => message);
    if (here.length > 0) await this.from.publish(here);
    if (there.length === 0) return;
    await this.to.publish(there).catch((thrown: unknown) => {
      throw here.length > 0 ? halfDone(thrown) : thrown;
    });
  }
}

/** One side has its part: to publish it again stores nothing twice, and to leave it would lose the other part. */
function halfDone(thrown: unknown): unknown {
  if (!Fault.is(thrown) || thrown.origin !== 'unsent') return thrown;
  return new Fault(thrown.code, thrown.message, { reason: thrown.reason, details: thrown.details, origin: 'lost', cause: thrown });
}
