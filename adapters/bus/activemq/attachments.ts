import type { Log } from '../../../src/kernel/telemetry.ts';
import type { Bus, Consumer, Handler, HintListener, QueueSettings } from '../../../src/ports/bus.ts';

interface Consuming {
  readonly queue: string;
  readonly concurrency: number;
  readonly handler: Handler;
  bus: Bus | undefined;
  consumer: Consumer | undefined;
}

interface Watching {
  readonly topics: readonly string[];
  readonly listener: HintListener;
  bus: Bus | undefined;
  end: (() => void) | undefined;
}

/** What this process has asked of the bus for good, so that it can be asked again of whichever bus is there next. */
export class Attachments {
  readonly #log: Log;
  readonly #declared = new Map<string, { readonly settings: QueueSettings; bus: Bus | undefined }>();
  readonly #consuming = new Set<Consuming>();
  readonly #watching = new Set<Watching>();
  /** One after the other: two at a time would open a consumer twice. */
  #moving: Promise<unknown> = Promise.resolve();

  constructor(log: Log) {
    this.#log = log;
  }

  async declare(bus: Bus, settings: QueueSettings): Promise<void> {
    await bus.declare(settings);
    this.#declared.set(settings.name, { settings, bus });
  }

  async consume(bus: Bus, queue: string, concurrency: number, handler: Handler): Promise<Consumer> {
    const one: Consuming = { queue, concurrency, handler, bus, consumer: await bus.consume(queue, { concurrency }, handler) };
    this.#consuming.add(one);
    return {
      stop: async (deadlineMs) => {
        this.#consuming.delete(one);
        await one.consumer?.stop(deadlineMs);
      },
    };
  }

  /** May begin before there is a bus. */
  watch(bus: Bus | undefined, topics: readonly string[], listener: HintListener): () => void {
    const one: Watching = { topics, listener, bus: undefined, end: undefined };
    this.#watching.add(one);
    if (bus !== undefined) watchOn(bus, one);
    return () => {
      this.#watching.delete(one);
      one.end?.();
    };
  }

  /** Moves to this bus whatever is not on it yet. Rejects with the first fault; what was moved stays moved. */
  moveTo(bus: Bus): Promise<void> {
    const moved = this.#moving.then(() => this.#moveAll(bus));
    this.#moving = moved.catch(() => {});
    return moved;
  }

  /** Every listener may have missed something. */
  tellGap(): void {
    for (const { listener } of this.#watching) {
      try {
        listener.gap();
      } catch (err) {
        this.#log.error({ err }, 'a listener to events threw');
      }
    }
  }

  async #moveAll(bus: Bus): Promise<void> {
    for (const one of this.#watching) if (one.bus !== bus) watchOn(bus, one);
    for (const one of this.#declared.values()) {
      if (one.bus === bus) continue;
      await bus.declare(one.settings);
      one.bus = bus;
    }
    for (const one of this.#consuming) {
      if (one.bus === bus) continue;
      const consumer = await bus.consume(one.queue, { concurrency: one.concurrency }, one.handler);
      // It may have been stopped meanwhile.
      if (!this.#consuming.has(one)) await consumer.stop(0);
      [one.bus, one.consumer] = [bus, consumer];
    }
  }
}

function watchOn(bus: Bus, one: Watching): void {
  one.end?.();
  one.end = bus.watch(one.topics, one.listener);
  one.bus = bus;
}
