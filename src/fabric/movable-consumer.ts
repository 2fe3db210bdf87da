import type { Bus, Consumer, Handler, Incoming, Outcome } from '../ports/bus.ts';

/**
 * Handlers that outlived the consumer which called them, by queue and message. They speak for their message when that
 * comes again from the other bus, so that no message is handled twice at once.
 */
export type Outliving = Map<string, Promise<Outcome>>;

/** A consumer that goes on when its queue has gone to another bus. */
export class MovableConsumer implements Consumer {
  readonly queue: string;
  readonly #concurrency: number;
  readonly #handler: Handler;
  readonly #outliving: Outliving;
  readonly #ended: (consumer: MovableConsumer) => void;
  /** Handlers under way, by message. */
  readonly #running = new Map<string, Promise<Outcome>>();
  #current: Promise<Consumer | undefined> = Promise.resolve(undefined);
  #isStopped = false;

  constructor(queue: string, concurrency: number, handler: Handler, { outliving, ended }: { readonly outliving: Outliving; ended(consumer: MovableConsumer): void }) {
    this.queue = queue;
    this.#concurrency = concurrency;
    this.#handler = handler;
    this.#outliving = outliving;
    this.#ended = ended;
  }

  /** Takes messages from this bus from now on. After a stop it does nothing. */
  async open(bus: Bus): Promise<void> {
    const opening = this.#current.then((current) => current ?? (this.#isStopped ? undefined : bus.consume(this.queue, { concurrency: this.#concurrency }, this.#handle)));
    this.#current = opening.catch(() => undefined);
    await opening;
  }

  /** Takes nothing until it is opened again. What is under way finishes, or goes back at the deadline. */
  async suspend(deadlineMs: number): Promise<void> {
    const current = await this.#current;
    await current?.stop(deadlineMs);
    this.#current = Promise.resolve(undefined);
    if (this.#isStopped) return;
    for (const [id, running] of this.#running) this.#outliving.set(this.#nameOf(id), running);
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#isStopped = true;
    const current = await this.#current;
    await current?.stop(deadlineMs);
    // What still runs now has no say any more.
    for (const id of this.#running.keys()) this.#outliving.delete(this.#nameOf(id));
    this.#ended(this);
  }

  #handle: Handler = async (message: Incoming) => {
    const { id } = message;
    const elder = this.#outliving.get(this.#nameOf(id));
    if (elder !== undefined) return elder;
    const running = this.#handler(message);
    this.#running.set(id, running);
    try {
      return await running;
    } finally {
      this.#running.delete(id);
      if (this.#outliving.get(this.#nameOf(id)) === running) this.#outliving.delete(this.#nameOf(id));
    }
  };

  #nameOf(id: string): string {
    return `${this.queue} ${id}`;
  }
}
