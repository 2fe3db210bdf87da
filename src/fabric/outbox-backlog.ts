import { sql } from 'kysely';
import { Fault } from '../kernel/fault.ts';
import { type Storage, statement } from '../ports/storage.ts';
import type { FabricTables } from './tables.ts';

/** What a row takes beside its payload, its share of the index included: near enough for a limit. */
const ROW_BYTES = 300;
const MEASURED_AT_ONCE = 2_000;
const RETRY_AFTER_MS = 5_000;

const measure = statement<FabricTables, { after: number; limit: number }>()((db, p) =>
  db
    .selectFrom(db.selectFrom('fabric_outbox').select(['seq', 'payload']).where('seq', '>', p('after')).orderBy('seq').limit(p('limit')).as('some'))
    .select(({ fn }) => [fn.max('seq').as('last'), fn.countAll<number>().as('messages'), sql<number>`coalesce(sum(octet_length(payload)), 0)`.as('bytes')]),
);

/** How much waits in a module's outbox, kept up by those who fill and empty it, and how much may. */
export class OutboxBacklog {
  readonly #module: string;
  readonly #maxBytes: number;
  #messages = 0;
  #bytes = 0;

  /** `maxBytes`: from here on new work is refused. */
  constructor(module: string, maxBytes: number) {
    this.#module = module;
    this.#maxBytes = maxBytes;
  }

  get messages(): number {
    return Math.max(0, this.#messages);
  }

  get bytes(): number {
    return Math.max(0, this.#bytes);
  }

  get isFull(): boolean {
    return this.#bytes >= this.#maxBytes;
  }

  /** Fault `exhausted`/`outbox_full`. */
  requireRoom(): void {
    if (!this.isFull) return;
    throw new Fault('exhausted', `Too many messages of ${this.#module} wait for the bus; nothing new is taken until it has some of them.`, { reason: 'outbox_full', details: { retryAfterMs: RETRY_AFTER_MS } });
  }

  added(payload: string): void {
    this.#change(1, payload);
  }

  removed(payloads: readonly string[]): void {
    for (const payload of payloads) this.#change(-1, payload);
  }

  /** It was found empty: whatever others have added or removed is in it no more. */
  emptied(): void {
    [this.#messages, this.#bytes] = [0, 0];
  }

  /** Counts what is there, a piece at a time. */
  async measure(storage: Pick<Storage<FabricTables>, 'run'>): Promise<void> {
    let [messages, bytes] = [0, 0];
    for (let after = 0; ; ) {
      const [piece] = await storage.run(measure, { after, limit: MEASURED_AT_ONCE });
      messages += Number(piece!.messages);
      bytes += Number(piece!.bytes) + Number(piece!.messages) * ROW_BYTES;
      if (Number(piece!.messages) < MEASURED_AT_ONCE) break;
      after = Number(piece!.last);
    }
    [this.#messages, this.#bytes] = [messages, bytes];
  }

  #change(messages: 1 | -1, payload: string): void {
    this.#messages += messages;
    this.#bytes += messages * (Buffer.byteLength(payload) + ROW_BYTES);
  }
}
