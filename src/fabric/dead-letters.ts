import type { MessageDefinition } from '../kernel/message.ts';
import type { Bus } from '../ports/bus.ts';
import type { DeadLetters } from '../ports/dead-letters.ts';
import { inParts } from '../ports/in-parts.ts';
import { queueName } from './envelope.ts';

/** What one page of the bus looks at and one purge names, at most. */
const AT_ONCE = 500;

/** The error queues of one module on the bus. */
export class BusDeadLetters implements DeadLetters {
  readonly #module: string;
  readonly #bus: Bus;

  constructor(module: string, bus: Bus) {
    this.#module = module;
    this.#bus = bus;
  }

  async purge<P>(message: MessageDefinition<P>, workspace: string, concerns: (payload: Partial<P>) => boolean): Promise<number> {
    const queue = queueName(message, this.#module);
    let purged = 0;
    for (let after: string | undefined; ; ) {
      const page = await this.#bus.browse(queue, { dead: true, filter: { workspace }, limit: AT_ONCE, ...(after !== undefined && { after }) });
      const ids = page.messages.filter(({ payload }) => concerns(fieldsOf<P>(payload))).map(({ id }) => id);
      if (ids.length > 0) purged += await inParts((from) => this.#bus.purge(queue, { dead: true, filter: { workspace, ids }, ...from }));
      if (page.next === null) return purged;
      after = page.next;
    }
  }
}

/** What is no object may be why the message is dead; it has no fields to tell whom it concerns. */
function fieldsOf<P>(payload: string): Partial<P> {
  try {
    const value: unknown = JSON.parse(payload);
    return value !== null && typeof value === 'object' ? value : {};
  } catch {
    return {};
  }
}
