import type { Kysely } from 'kysely';
import type { Clock } from '../kernel/clock.ts';
import type { MessageDefinition, PublishOptions } from '../kernel/message.ts';
import type { Outgoing } from '../ports/bus.ts';
import { type Storage, type StorageTransaction, type Store, type Transaction, type TransactionOptions, statement } from '../ports/storage.ts';
import { requireValid, seal } from './envelope.ts';
import type { OutboxBacklog } from './outbox-backlog.ts';
import { requireDeclared } from './publisher.ts';
import type { FabricTables } from './tables.ts';

const insert = statement<FabricTables, FabricTables['fabric_refused']>()((db, p) =>
  db.insertInto('fabric_outbox').values({
    id: p('id'),
    kind: p('kind'),
    name: p('name'),
    workspace: p('workspace'),
    message_key: p('message_key'),
    lane: p('lane'),
    time: p('time'),
    trace_id: p('trace_id'),
    span_id: p('span_id'),
    not_before: p('not_before'),
    payload: p('payload'),
  }),
);
const WRITTEN_AT_ONCE = 64;

export interface OutboxOptions {
  readonly module: string;
  readonly publishes: ReadonlySet<string>;
  /** Check payloads against their schemas when they are published. */
  readonly strict: boolean;
  readonly clock: Clock;
  /** Left out: there is room for everything. */
  readonly backlog?: OutboxBacklog;
  /** What else the first transaction of a piece of work must write. */
  readonly alongside?: () => Alongside | undefined;
  /** Its transactions handle messages. */
  readonly isHandling?: boolean;
}

export interface Alongside {
  write(tx: StorageTransaction<any>): Promise<void>;
  /** False when the transaction failed, or nobody knows. */
  ended(committed: boolean): void;
}

/** The module's database as the module sees it: transactions that can publish. */
export class OutboxStore<DB> implements Store<DB> {
  readonly #storage: Storage<DB>;
  readonly #options: OutboxOptions;
  readonly #wake: () => void;

  constructor(storage: Storage<DB>, options: OutboxOptions, wake: () => void) {
    this.#storage = storage;
    this.#options = options;
    this.#wake = wake;
  }

  get db(): Kysely<DB> {
    return this.#storage.db;
  }

  get capabilities(): Storage<DB>['capabilities'] {
    return this.#storage.capabilities;
  }

  run: Store<DB>['run'] = (prepared, params) => this.#storage.run(prepared, params);

  scan: Storage<DB>['scan'] = (query, options) => this.#storage.scan(query, options);

  lists: Storage<DB>['lists'] = (position) => this.#storage.lists(position);

  /**
   * The same, always with room, for handlers of messages: what they do makes room on the bus. Were they refused while it is
   * full, it would stay so.
   */
  get forHandlers(): Store<DB> {
    return new OutboxStore(this.#storage, { ...this.#options, isHandling: true }, this.#wake);
  }

  /** Resolves when the message, which is sealed, is on disk and on its way to the bus. Fault `exhausted`/`outbox_full`. */
  async keep(message: Outgoing): Promise<void> {
    const { backlog } = this.#options;
    backlog?.requireRoom();
    await this.#storage.transaction((tx) => tx.run(insert, rowOf(message)));
    backlog?.added(message.payload);
    this.#wake();
  }

  async transaction<T>(work: (tx: Transaction<DB>) => Promise<T>, options?: TransactionOptions): Promise<T> {
    let published: readonly string[] = [];
    const alongside = this.#options.alongside?.();
    let committed = false;
    try {
      const result = await this.#storage.transaction(async (tx) => {
        if (alongside !== undefined) await alongside.write(tx);
        const payloads: string[] = [];
        // It may be run again.
        published = payloads;
        const outgoing = new OutboxTransaction(tx, this.#options, payloads);
        const value = await work(outgoing);
        await outgoing.flush();
        return value;
      }, options);
      committed = true;
      return result;
    } finally {
      alongside?.ended(committed);
      if (committed && published.length > 0) {
        for (const payload of published) this.#options.backlog?.added(payload);
        this.#wake();
      }
    }
  }
}

class OutboxTransaction<DB> implements Transaction<DB> {
  readonly #tx: StorageTransaction<DB>;
  readonly #options: OutboxOptions;
  readonly #published: string[];
  #unwritten: FabricTables['fabric_refused'][] = [];

  constructor(tx: StorageTransaction<DB>, options: OutboxOptions, published: string[]) {
    this.#tx = tx;
    this.#options = options;
    this.#published = published;
  }

  get db(): Kysely<DB> {
    return this.#tx.db;
  }

  get position(): string | null {
    return this.#tx.position;
  }

  run: Transaction<DB>['run'] = (prepared, params) => this.#tx.run(prepared, params);

  runMany: Transaction<DB>['runMany'] = (prepared, all) => this.#tx.runMany(prepared, all);

  async publish<P>(message: MessageDefinition<P>, payload: P, options: PublishOptions): Promise<void> {
    const { module, publishes, strict, clock, backlog, isHandling = false } = this.#options;
    requireDeclared(module, publishes, message);
    if (strict) requireValid(message, payload, 'internal');
    if (!isHandling && options.always !== true) backlog?.requireRoom();
    const sealed = seal(message, payload, undefined, options, clock.now());
    this.#published.push(sealed.payload);
    this.#unwritten.push(rowOf(sealed));
    if (this.#unwritten.length >= WRITTEN_AT_ONCE) await this.flush();
  }

  /** Before the commit: nobody looks for messages in a transaction under way, so that they are written together. */
  async flush(): Promise<void> {
    const rows = this.#unwritten;
    if (rows.length === 0) return;
    this.#unwritten = [];
    await this.#tx.runMany(insert, rows);
  }
}

function rowOf({ id, name, to, workspace, key, lane, time, trace, notBefore, payload }: Outgoing): FabricTables['fabric_refused'] {
  return { id, kind: 'queue' in to ? 'job' : 'event', name, workspace, message_key: key, lane, time, trace_id: trace.traceId, span_id: trace.spanId, not_before: notBefore ?? null, payload };
}
