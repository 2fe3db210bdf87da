import type { Kysely } from 'kysely';
import type { Clock, Timer } from '../kernel/clock.ts';
import { toFault } from '../kernel/fault.ts';
import { type Lifecycle, StartStop } from '../kernel/lifecycle.ts';
import type { MessageDefinition, PublishOptions } from '../kernel/message.ts';
import type { Log, Metrics } from '../kernel/telemetry.ts';
import type { Bus, Outgoing } from '../ports/bus.ts';
import { type Storage, type StorageTransaction, type Store, type Transaction, type TransactionOptions, statement } from '../ports/storage.ts';
import { requireValid, seal } from './envelope.ts';
import { requireDeclared } from './publisher.ts';
import type { FabricTables } from './tables.ts';

type Row = { seq: number; id: string; kind: 'event' | 'job'; name: string; workspace: string | null; message_key: string | null; lane: Outgoing['lane']; time: number; trace_id: string; span_id: string; not_before: number | null; payload: string };

const insert = statement<FabricTables, Omit<Row, 'seq'>>()((db, p) =>
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
const oldest = statement<FabricTables, { limit: number }>()((db, p) => db.selectFrom('fabric_outbox').selectAll().orderBy('seq').limit(p('limit')));

/** How many rows one trip to the bus takes. Deletes are padded to these sizes, so that few statements are compiled. */
const DELETE_SIZES = [1, 8, 64, 512];
const BATCH_ROWS = 512;
const removeOf = new Map(
  DELETE_SIZES.map((size) => [
    size,
    statement<FabricTables, Record<string, number>>()((db, p) =>
      db.deleteFrom('fabric_outbox').where('seq', 'in', Array.from({ length: size }, (_, i) => p(`s${i}`))),
    ),
  ]),
);

export interface OutboxOptions {
  readonly module: string;
  readonly publishes: ReadonlySet<string>;
  /** Check payloads against their schemas when they are published. */
  readonly strict: boolean;
  readonly clock: Clock;
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

  async transaction<T>(work: (tx: Transaction<DB>) => Promise<T>, options?: TransactionOptions): Promise<T> {
    let published = false;
    const result = await this.#storage.transaction(
      (tx) => work(new OutboxTransaction(tx, this.#options, () => { published = true; })),
      options,
    );
    if (published) this.#wake();
    return result;
  }
}

class OutboxTransaction<DB> implements Transaction<DB> {
  readonly #tx: StorageTransaction<DB>;
  readonly #options: OutboxOptions;
  readonly #onPublish: () => void;

  constructor(tx: StorageTransaction<DB>, options: OutboxOptions, onPublish: () => void) {
    this.#tx = tx;
    this.#options = options;
    this.#onPublish = onPublish;
  }

  get db(): Kysely<DB> {
    return this.#tx.db;
  }

  run: Transaction<DB>['run'] = (prepared, params) => this.#tx.run(prepared, params);

  async publish<P>(message: MessageDefinition<P>, payload: P, options: PublishOptions): Promise<void> {
    const { module, publishes, strict, clock } = this.#options;
    requireDeclared(module, publishes, message);
    if (strict) requireValid(message, payload, 'internal');
    const { id, name, workspace, key, lane, time, trace, notBefore, payload: json } = seal(message, payload, undefined, options, clock.now());
    await this.#tx.run(insert, {
      id,
      kind: message.kind,
      name,
      workspace,
      message_key: key,
      lane,
      time,
      trace_id: trace.traceId,
      span_id: trace.spanId,
      not_before: notBefore ?? null,
      payload: json,
    });
    this.#onPublish();
  }
}

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 10_000;

/**
 * Carries committed messages from a module's outbox to the bus, in order of commit, and deletes what the bus has on
 * disk. Cut between the two it carries some twice; the inbox of the receiver sees to that. Woken by commits; at
 * start it takes what an earlier run left behind.
 */
export class OutboxRelay implements Lifecycle {
  readonly #storage: Storage<FabricTables>;
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #relayed: ReturnType<Metrics['counter']>;
  readonly #module: string;
  readonly #life: StartStop;
  #running: Promise<void> | undefined;
  #again = false;
  #open = false;
  #retryMs = FIRST_RETRY_MS;
  #timer: Timer | undefined;

  constructor(module: string, storage: Storage<FabricTables>, bus: Bus, clock: Clock, log: Log, metrics: Metrics) {
    this.#module = module;
    this.#storage = storage;
    this.#bus = bus;
    this.#clock = clock;
    this.#log = log;
    this.#relayed = metrics.counter('outbox_relayed_total', 'Messages carried from an outbox to the bus.', ['module']);
    this.#life = new StartStop(
      () => {
        this.#open = true;
        this.wake();
      },
      async () => {
        this.#timer?.cancel();
        await this.#running;
        this.#open = false;
      },
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** Carries what is there, then stops; what cannot be carried stays for the next start. */
  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /** There may be something to carry. Cheap, callable at any time. */
  wake = (): void => {
    if (!this.#open) return;
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    this.#running = this.#carry().finally(() => {
      this.#running = undefined;
      if (this.#again) {
        this.#again = false;
        this.wake();
      }
    });
  };

  async #carry(): Promise<void> {
    try {
      for (;;) {
        const rows = await this.#storage.run(oldest, { limit: BATCH_ROWS });
        if (rows.length === 0) break;
        await this.#bus.publish(rows.map(outgoing));
        await this.#remove(rows.map((row) => row.seq));
        this.#relayed.add(rows.length, { module: this.#module });
        if (rows.length < BATCH_ROWS && !this.#again) break;
        this.#again = false;
      }
      this.#retryMs = FIRST_RETRY_MS;
    } catch (thrown) {
      this.#log.warn({ module: this.#module, code: toFault(thrown).code, retryMs: this.#retryMs, err: thrown }, 'outbox not carried to the bus; it is kept and tried again');
      this.#again = false;
      this.#timer?.cancel();
      if (this.#life.state !== 'stopping') this.#timer = this.#clock.at(this.#clock.now() + this.#retryMs, this.wake);
      this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
    }
  }

  async #remove(seqs: readonly number[]): Promise<void> {
    const size = DELETE_SIZES.find((s) => s >= seqs.length)!;
    const params = Object.fromEntries(Array.from({ length: size }, (_, i) => [`s${i}`, seqs[i] ?? seqs[0]!]));
    await this.#storage.transaction((tx) => tx.run(removeOf.get(size)!, params));
  }
}

function outgoing(row: Row): Outgoing {
  return {
    id: row.id,
    name: row.name,
    to: row.kind === 'job' ? { queue: row.name } : { topic: row.name },
    workspace: row.workspace,
    key: row.message_key,
    lane: row.lane,
    time: row.time,
    trace: { traceId: row.trace_id, spanId: row.span_id },
    payload: row.payload,
    ...(row.not_before === null ? {} : { notBefore: row.not_before }),
  };
}
