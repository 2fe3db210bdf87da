import type { Selectable } from 'kysely';
import type { Clock, Timer } from '../kernel/clock.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import { type Lifecycle, StartStop } from '../kernel/lifecycle.ts';
import type { Counter, Log, Metrics } from '../kernel/telemetry.ts';
import type { Bus, Outgoing } from '../ports/bus.ts';
import { inSizes } from '../ports/sized.ts';
import { type Storage, statement } from '../ports/storage.ts';
import type { OutboxBacklog } from './outbox-backlog.ts';
import { OutboxLease } from './outbox-lease.ts';
import type { FabricTables } from './tables.ts';

type Row = Selectable<FabricTables['fabric_outbox']>;

const oldest = statement<FabricTables, { limit: number }>()((db, p) => db.selectFrom('fabric_outbox').selectAll().orderBy('seq').limit(p('limit')));

/** How much one trip to the bus takes. Deletes are padded to these sizes, so that few statements are compiled. */
const DELETE_SIZES = [1, 8, 64, 512];
const BATCH_ROWS = 512;
const BATCH_CHARACTERS = 4_194_304;
const remove = DELETE_SIZES.map((size) => ({
  size,
  statement: statement<FabricTables, Record<string, number>>()((db, p) =>
    db.deleteFrom('fabric_outbox').where('seq', 'in', Array.from({ length: size }, (_, i) => p(`s${i}`))),
  ),
}));

const COLUMNS = ['id', 'kind', 'name', 'workspace', 'message_key', 'lane', 'time', 'trace_id', 'span_id', 'not_before', 'payload'] as const;

/** How often an outbox that processes share is looked into unasked. */
const LOOK_MS = 2_000;
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2_000;

export interface OutboxRelayOptions {
  readonly module: string;
  readonly storage: Storage<FabricTables>;
  readonly bus: Bus;
  readonly backlog: OutboxBacklog;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Carries committed messages from a module's outbox to the bus, in order of commit, and deletes what the bus has on
 * disk. Cut between the two it carries some twice; the inbox of the receiver sees to that. Woken by commits; at
 * start it takes what an earlier run left behind. Of processes that share the database one at a time carries, for all of
 * them; when it dies or stands still, another goes on within seconds.
 */
export class OutboxRelay implements Lifecycle {
  readonly #storage: Storage<FabricTables>;
  readonly #bus: Bus;
  readonly #backlog: OutboxBacklog;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #relayed: Counter;
  readonly #refused: Counter;
  readonly #module: string;
  /** Undefined where no other process shares the outbox. */
  readonly #lease: OutboxLease | undefined;
  readonly #life: StartStop;
  #running: Promise<void> | undefined;
  #again = false;
  #open = false;
  #retryMs = FIRST_RETRY_MS;
  #timer: Timer | undefined;
  #look: Timer | undefined;
  /** Since when nothing could be carried. */
  #failingSince: number | undefined;
  /** At the last look at what others carry while nothing could be carried here. */
  #oldestSeen: number | undefined;

  constructor({ module, storage, bus, backlog, clock, log, metrics }: OutboxRelayOptions) {
    this.#module = module;
    this.#storage = storage;
    this.#bus = bus;
    this.#backlog = backlog;
    this.#clock = clock;
    this.#log = log;
    this.#lease = storage.capabilities.shared ? new OutboxLease(storage, clock) : undefined;
    this.#relayed = metrics.counter('outbox_relayed_total', 'Messages carried from an outbox to the bus.', ['module']);
    this.#refused = metrics.counter('outbox_refused_total', 'Messages that the bus refuses as they are.', ['module']);
    this.#life = new StartStop(
      async () => {
        await this.#takeBack();
        await this.#backlog.measure(storage);
        this.#open = true;
        this.wake();
        if (this.#lease !== undefined) this.#lookOften();
      },
      async (deadlineMs) => {
        this.#timer?.cancel();
        this.#look?.cancel();
        await this.#finish(deadlineMs);
        this.#open = false;
        await this.#lease?.giveBack().catch(() => {});
      },
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** What waits for a bus that takes nothing, for people; undefined while it takes what there is. */
  get problem(): string | undefined {
    if (this.#failingSince === undefined) return undefined;
    const { messages, bytes, isFull } = this.#backlog;
    const waiting = `${this.#module}: ${messages} ${messages === 1 ? 'message waits' : 'messages wait'} for the bus (${(bytes / 1e6).toFixed(1)} MB), which has taken none for ${Math.round((performance.now() - this.#failingSince) / 1_000)} s`;
    return isFull ? `${waiting}. That is all that outbox.maxBytes allows: nothing new is taken until the bus is back.` : `${waiting}; they are kept.`;
  }

  /** Carries what is there, within the deadline, then stops; what cannot be carried stays for the next start. */
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

  /** A bus that does not answer, e.g. on another host, must not hold up the stop. */
  async #finish(deadlineMs: number): Promise<void> {
    if (this.#running === undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, deadlineMs);
    await Promise.race([this.#running, promise]).finally(() => clearTimeout(timer));
  }

  #lookOften(): void {
    this.#look = this.#clock.after(LOOK_MS, () => {
      this.wake();
      // What the others have carried of ours, only who asks knows.
      if (this.#lease?.isHeld === false) void this.#lookAtOthers().catch(() => {});
      this.#lookOften();
    });
  }

  async #lookAtOthers(): Promise<void> {
    await this.#backlog.measure(this.#storage);
    if (this.#failingSince === undefined) return;
    const [first] = await this.#storage.run(oldest, { limit: 1 });
    // Under a steady load there is always one; that it is another one shows that the bus takes them.
    if (first === undefined || (this.#oldestSeen !== undefined && first.seq !== this.#oldestSeen)) this.#works();
    this.#oldestSeen = first?.seq;
  }

  async #carry(): Promise<void> {
    try {
      if (this.#lease !== undefined && !(await this.#lease.take())) return;
      while (this.#open) {
        const found = await this.#storage.run(oldest, { limit: BATCH_ROWS });
        const rows = oneTrip(found);
        if (found.length > 0) await this.#hand(rows);
        else this.#backlog.emptied();
        // Not only when nothing is left: under a steady load that may never be.
        this.#works();
        if (await this.#isThrough(found, rows)) break;
        this.#again = false;
      }
    } catch (thrown) {
      // What was handed over is known to the bus and to inboxes by its id.
      if (Fault.is(thrown) && thrown.reason === 'lease_lost') return;
      await this.#failed(thrown);
      await this.#lease?.giveBack().catch(() => {});
      this.#again = false;
      this.#timer?.cancel();
      if (this.#open && this.#life.state !== 'stopping') this.#timer = this.#clock.after(this.#retryMs, this.wake);
      this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
    }
  }

  /** What other processes commit is carried by the one that holds the lease: it is given back only when nothing is left at that moment. */
  async #isThrough(found: readonly Row[], rows: readonly Row[]): Promise<boolean> {
    const lease = this.#lease;
    if (lease === undefined) return rows.length === found.length && found.length < BATCH_ROWS && !this.#again;
    return found.length > 0 ? !lease.isHeld : this.#storage.transaction((tx) => lease.keep(tx));
  }

  #works(): void {
    this.#retryMs = FIRST_RETRY_MS;
    if (this.#failingSince === undefined) return;
    this.#log.info({ module: this.#module, afterMs: Math.round(performance.now() - this.#failingSince) }, 'the outbox is carried to the bus again');
    this.#failingSince = undefined;
  }

  /** Said once, until it works again. */
  async #failed(thrown: unknown): Promise<void> {
    if (this.#failingSince === undefined) {
      this.#failingSince = performance.now();
      this.#oldestSeen = undefined;
      this.#log.warn({ module: this.#module, code: toFault(thrown).code, reason: toFault(thrown).reason, err: thrown }, 'outbox not carried to the bus; it is kept and tried again');
    }
    // Only who asks knows what other processes have put there.
    if (this.#storage.capabilities.shared) await this.#backlog.measure(this.#storage).catch(() => {});
  }

  /** A batch that the bus refuses as such goes message by message, so that one bad one does not keep back the rest. */
  async #hand(rows: readonly Row[]): Promise<void> {
    try {
      await this.#publish(rows.map(outgoing));
    } catch (thrown) {
      if (toFault(thrown).code !== 'invalid') throw thrown;
      if (rows.length === 1) return this.#setAside(rows[0]!, thrown);
      for (const row of rows) await this.#hand([row]);
      return;
    }
    await this.#remove(rows.map((row) => row.seq));
    this.#backlog.removed(rows.map(({ payload }) => payload));
    this.#relayed.add(rows.length, { module: this.#module });
  }

  #publish(messages: readonly Outgoing[]): Promise<void> {
    const trip = () => this.#bus.publish(messages);
    return this.#lease === undefined ? trip() : this.#lease.during(trip);
  }

  /** Kept, counted and said: what the bus will not take today it may take after a change of its settings. */
  async #setAside({ seq, ...message }: Row, refusal: unknown): Promise<void> {
    await this.#storage.transaction(async (tx) => {
      await tx.db.insertInto('fabric_refused').values(message).execute();
      await tx.db.deleteFrom('fabric_outbox').where('seq', '=', seq).execute();
      await this.#lease?.keep(tx);
    });
    this.#backlog.removed([message.payload]);
    this.#refused.add(1, { module: this.#module });
    const { reason, message: why } = toFault(refusal);
    this.#log.error({ module: this.#module, messageId: message.id, name: message.name, reason, why }, 'the bus refuses a message; it is kept in fabric_refused and tried again at the next start');
  }

  async #takeBack(): Promise<void> {
    await this.#storage.transaction(async (tx) => {
      await tx.db.insertInto('fabric_outbox').columns(COLUMNS).expression(tx.db.selectFrom('fabric_refused').select(COLUMNS)).execute();
      await tx.db.deleteFrom('fabric_refused').execute();
    });
  }

  async #remove(seqs: readonly number[]): Promise<void> {
    await this.#storage.transaction(async (tx) => {
      for (const [{ statement: removeSome }, some] of inSizes(remove, seqs)) await tx.run(removeSome, some);
      await this.#lease?.keep(tx);
    });
  }
}

/** At least one row, and no more than the bus takes at once. */
function oneTrip(rows: readonly Row[]): readonly Row[] {
  let characters = 0;
  const end = rows.findIndex((row, index) => (characters += row.payload.length) > BATCH_CHARACTERS && index > 0);
  return end < 0 ? rows : rows.slice(0, end);
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
