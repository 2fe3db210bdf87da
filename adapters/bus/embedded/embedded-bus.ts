import { mkdir, statfs } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import type { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import { LANES } from '../../../src/kernel/message.ts';
import type { Log, Metrics } from '../../../src/kernel/telemetry.ts';
import type { Bus, BusCapabilities, BusContents, ConsumeOptions, Consumer, Handler, HintListener, KeptMessage, MessageFilter, Outgoing, Part, QueueFilter, QueueSettings, QueueState } from '../../../src/ports/bus.ts';
import { Listeners } from '../../../src/ports/listeners.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { readPage, addAll } from './contents.ts';
import { checkedSettings } from './declare.ts';
import type { EmbeddedSettings, OpenStorage } from './driver.ts';
import type { Copy } from './insert.ts';
import { BusMemory, recover } from './memory.ts';
import { Pump } from './pump.ts';
import { Queue } from './queue.ts';
import { migrations } from './schema.ts';
import { shareOf } from './share.ts';
import { type Page, browse, purge, releaseBlocked, requeue } from './staff.ts';
import * as sql from './statements.ts';
import { Worker } from './worker.ts';

/** Messages and bytes that may wait for their transaction, and that one call may carry. */
const MOST_PENDING = 50_000;
const MOST_PENDING_BYTES = 64 * 1024 * 1024;
const MOST_A_CALL = 10_000;
/** Longer ids, names and keys are refused: each stands in an index. */
const TEXT_CHARACTERS = 512;
const MOST_CONCURRENCY = 10_000;
const MOST_A_PAGE = 1_000;
/** How often the free space is looked at while messages are published. */
const DISK_LOOK_MS = 1_000;
/** What a stopping bus keeps of its time for the last transaction and for closing the file. */
const CLOSING_SHARE = 0.2;

export interface EmbeddedBusOptions {
  readonly settings: EmbeddedSettings;
  readonly openStorage: OpenStorage;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** The bus in the process itself, durable in one SQLite file. See schema.ts for the states of a message, pump.ts for the course of things. */
export class EmbeddedBus implements Bus {
  readonly capabilities: BusCapabilities;
  readonly contents: BusContents;
  readonly #directory: string;
  readonly #options: EmbeddedBusOptions;
  readonly #memory = new BusMemory();
  readonly #listeners: Listeners;
  readonly #life: StartStop;
  #storage: Storage | undefined;
  #pump: Pump | undefined;
  #freeBytes = Infinity;
  #looked = -Infinity;

  constructor(options: EmbeddedBusOptions) {
    this.#options = options;
    this.capabilities = { spansHosts: false, maxMessageBytes: options.settings.maxMessageBytes };
    this.#directory = resolve(options.dataDir, options.settings.directory ?? '.');
    this.contents = this.#contents();
    this.#listeners = new Listeners(options.log);
    this.#life = new StartStop(() => this.#start(), (deadlineMs) => this.#stop(deadlineMs));
    options.metrics.gauge('bus_backlog_messages', 'Messages on the bus in any state.', () => this.#memory.size);
  }

  get kept(): Storage | undefined {
    return this.#storage;
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  async declare(declared: QueueSettings): Promise<void> {
    const pump = this.#running();
    const settings = checkedSettings(declared);
    const text = JSON.stringify(settings);
    await pump.perform(async (tx) => {
      const known = this.#memory.byName.get(settings.name);
      if (known === undefined) {
        const [row] = await tx.run(sql.addQueue, { name: settings.name, settings: text });
        return this.#memory.add(new Queue(row!.id, settings));
      }
      if (JSON.stringify(known.settings) === text) return;
      await tx.run(sql.changeQueue, { id: known.id, settings: text });
      known.settings = settings;
      this.#memory.bindTopics();
    });
    if (!settings.ordered) await releaseBlocked(pump, this.#memory.queue(settings.name));
  }

  async publish(messages: readonly Outgoing[]): Promise<void> {
    const pump = this.#running();
    const copies: Copy[] = [];
    let bytes = 0;
    for (const message of messages) {
      bytes += this.#check(message) * this.#address(message, copies);
    }
    if (copies.length === 0) return this.#listeners.tell(messages);
    if (copies.length > MOST_A_CALL || bytes > MOST_PENDING_BYTES) throw invalid(`One call may carry ${MOST_A_CALL} messages of ${MOST_PENDING_BYTES} bytes together; this one carries ${copies.length} of ${bytes}.`, 'too_many');
    this.#admit(copies.length, bytes, pump);
    await pump.publish(copies, bytes).catch((error: unknown) => {
      throw withRetry(error);
    });
    this.#listeners.tell(messages);
  }

  watch(topics: readonly string[], listener: HintListener): () => void {
    return this.#listeners.add(topics, listener);
  }

  async consume(name: string, { concurrency, isAttended }: ConsumeOptions, handler: Handler): Promise<Consumer> {
    const pump = this.#running();
    const queue = this.#memory.queue(name);
    if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > MOST_CONCURRENCY) throw invalid(`Concurrency must be a whole number from 1 to ${MOST_CONCURRENCY}; it is ${concurrency}.`, 'concurrency');
    const worker = new Worker(queue, { concurrency, ...(isAttended && { isAttended }) }, handler, { clock: this.#options.clock, log: this.#options.log, end: (flight, ending) => pump.end(flight, ending) });
    queue.workers.add(worker);
    pump.wake();
    return worker;
  }

  get problem(): string | undefined {
    if (!this.#lacksRoom) return undefined;
    const megabytes = (bytes: number) => `${Math.floor(bytes / 1024 / 1024)} MB`;
    return `The disk of the bus has ${megabytes(this.#freeBytes)} free; with less than ${megabytes(this.#options.settings.minFreeBytes)} no more is accepted, and what was accepted stays. Make room on it.`;
  }

  async inspect({ queue, workspace }: QueueFilter = {}): Promise<QueueState[]> {
    this.#running();
    const now = this.#options.clock.now();
    const queues = queue === undefined ? [...this.#memory.queues()] : [this.#memory.queue(queue)];
    if (workspace === undefined) return queues.map((each) => each.state(now, (id) => this.#memory.workspaceName(id) ?? ''));
    return Promise.all(queues.map((each) => shareOf(this.#storage!, this.#memory, each, workspace, now)));
  }

  async browse(name: string, which: { readonly dead: boolean; readonly filter?: MessageFilter; readonly after?: string; readonly limit: number }): Promise<Page> {
    this.#running();
    if (!Number.isInteger(which.limit) || which.limit < 1 || which.limit > MOST_A_PAGE) throw invalid(`A page holds 1 to ${MOST_A_PAGE} messages; ${which.limit} were asked for.`, 'limit');
    return browse(this.#storage!, this.#memory, this.#memory.queue(name), which);
  }

  async pause(name: string, workspace?: string): Promise<void> {
    const pump = this.#running();
    const queue = this.#memory.queue(name);
    await pump.perform(async (tx) => {
      if (workspace === undefined) {
        await tx.run(sql.pauseQueue, { id: queue.id, paused: 1 });
        queue.paused = true;
        return;
      }
      const id = await this.#memory.workspaceId(tx, workspace);
      await tx.run(sql.addPause, { queue: queue.id, workspace: id });
      queue.pausedWorkspaces.add(id);
      for (const rotation of queue.rotations) rotation.pause(id);
    });
  }

  async resume(name: string, workspace?: string): Promise<void> {
    const pump = this.#running();
    const queue = this.#memory.queue(name);
    await pump.perform(async (tx) => {
      if (workspace === undefined) {
        await tx.run(sql.pauseQueue, { id: queue.id, paused: 0 });
        queue.paused = false;
        return;
      }
      const id = this.#memory.knownWorkspace(workspace);
      if (id === undefined) return;
      await tx.run(sql.removePause, { queue: queue.id, workspace: id });
      queue.pausedWorkspaces.delete(id);
      for (const rotation of queue.rotations) rotation.resume(id);
    });
  }

  async requeue(name: string, which: { readonly filter: MessageFilter; readonly after?: string }): Promise<Part> {
    const pump = this.#running();
    return requeue(pump, this.#memory, this.#memory.queue(name), which);
  }

  async purge(name: string, which: { readonly dead: boolean; readonly filter: MessageFilter; readonly after?: string }): Promise<Part> {
    const pump = this.#running();
    return purge(pump, this.#memory, this.#memory.queue(name), which);
  }

  async #start(): Promise<void> {
    const { openStorage, dataDir, clock, log, metrics } = this.#options;
    // The data directory is its owner's affair.
    if (this.#directory !== resolve(dataDir)) await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const storage = openStorage('bus', this.#directory);
    this.#storage = storage;
    await storage.start();
    await storage.migrate(migrations);
    await this.#readDisk();
    // A crowded file takes longer than one transaction of everyday; nothing else waits for it yet.
    await storage.transaction(async (tx) => {
      const cut = await tx.run(sql.allQueues, {});
      await this.#memory.reload(tx);
      for (const { name, in_flight: seqs } of cut) {
        const queue = this.#memory.queue(name);
        if (seqs !== '[]') await recover(tx, queue, seqs, clock.now());
        await tx.run(sql.saveQueue, queue.row());
      }
    }, { timeoutMs: 60_000 });
    this.#pump = new Pump({ storage, memory: this.#memory, clock, log, metrics });
    this.#pump.wake();
  }

  async #stop(deadlineMs: number): Promise<void> {
    const { clock } = this.#options;
    const end = clock.now() + deadlineMs;
    const workers = [...this.#memory.queues()].flatMap((queue) => [...queue.workers]);
    await Promise.all(workers.map((worker) => worker.stop(deadlineMs * (1 - CLOSING_SHARE))));
    await this.#pump?.close();
    await this.#storage?.stop(Math.max(0, end - clock.now()));
  }

  #contents(): BusContents {
    return {
      // Seen from the data directory, so that moving that one changes nothing.
      place: `embedded, ${join(relative(this.#options.dataDir, this.#directory) || '.', 'bus.sqlite')}`,
      queues: async () => {
        this.#running();
        return [...this.#memory.queues()].map(({ settings }) => settings);
      },
      read: async (name, after) => {
        this.#running();
        return readPage(this.#storage!, this.#memory, this.#memory.queue(name), after);
      },
      add: (name, messages) => this.#add(name, messages),
    };
  }

  async #add(name: string, messages: readonly KeptMessage[]): Promise<void> {
    const pump = this.#running();
    const queue = this.#memory.queue(name);
    const bytes = messages.reduce((sum, message) => sum + this.#check(message), 0);
    this.#admit(messages.length, bytes, pump);
    await addAll(pump, this.#memory, queue, messages).catch((error: unknown) => {
      throw withRetry(error);
    });
  }

  /** Until the consumers have drained, their handlers may still publish. */
  #running(): Pump {
    const { state } = this.#life;
    if (this.#pump !== undefined && (state === 'starting' || state === 'running' || state === 'stopping')) return this.#pump;
    throw new Fault('unavailable', 'The bus is not running.', { reason: 'stopped', origin: 'unsent' });
  }

  /** The bytes of a message that may be published. */
  #check({ id, name, key, workspace, trace, payload, lane, time, notBefore = 0 }: Omit<Outgoing, 'to'>): number {
    const { maxMessageBytes } = this.#options.settings;
    const bytes = Buffer.byteLength(payload);
    if (bytes > maxMessageBytes) throw new Fault('invalid', `A message may have ${maxMessageBytes} bytes; this one has ${bytes}.`, { reason: 'too_large', details: { maxBytes: maxMessageBytes, bytes } });
    if (!storable(payload)) throw invalid('The payload holds U+0000 or half a surrogate pair; JSON escapes both.', 'unstorable_text');
    for (const text of [id, name, key, workspace, trace.traceId, trace.spanId]) {
      if (text !== null && (text.length > TEXT_CHARACTERS || !storable(text))) throw invalid(`Id, name, key, workspace and trace are well-formed text of at most ${TEXT_CHARACTERS} characters.`, 'unstorable_text');
    }
    if (!LANES.includes(lane)) throw invalid(`There is no lane ${JSON.stringify(lane)}.`, 'lane');
    if (!Number.isSafeInteger(time) || !Number.isSafeInteger(notBefore)) throw invalid('Times are whole epoch milliseconds.', 'time');
    return bytes;
  }

  /** Adds one copy for each queue that the message goes to; answers how many. */
  #address(message: Outgoing, copies: Copy[]): number {
    if ('queue' in message.to) {
      copies.push({ queue: this.#memory.queue(message.to.queue), message });
      return 1;
    }
    const queues = this.#memory.subscribers(message.to.topic);
    for (const queue of queues) copies.push({ queue, message });
    return queues.length;
  }

  #admit(copies: number, bytes: number, pump: Pump): void {
    const { maxBacklog, minFreeBytes } = this.#options.settings;
    const { pending } = pump;
    if (pending.copies + copies > MOST_PENDING || pending.bytes + bytes > MOST_PENDING_BYTES) throw exhausted('overload', 'More messages are published than the disk can take.', 100);
    if (this.#memory.size + pending.copies + copies > maxBacklog) throw exhausted('backlog', `The bus holds ${this.#memory.size} messages, of ${maxBacklog} that it may.`, 5_000);
    if (this.#lacksRoom) throw exhausted('disk_full', `The disk has ${this.#freeBytes} bytes left; the bus leaves ${minFreeBytes} free for finishing what it has.`, 5_000);
  }

  /** As of the last look, a moment ago; the first begins one. */
  get #lacksRoom(): boolean {
    if (this.#options.clock.now() - this.#looked >= DISK_LOOK_MS) void this.#readDisk();
    return this.#freeBytes < this.#options.settings.minFreeBytes;
  }

  async #readDisk(): Promise<void> {
    this.#looked = this.#options.clock.now();
    const disk = await statfs(this.#directory).catch(() => undefined);
    if (disk !== undefined) this.#freeBytes = disk.bavail * disk.bsize;
  }
}

function storable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

function invalid(message: string, reason: string): Fault {
  return new Fault('invalid', message, { reason });
}

function exhausted(reason: string, message: string, retryAfterMs: number): Fault {
  return new Fault('exhausted', message, { reason, details: { retryAfterMs }, origin: 'unsent' });
}

/** A full disk says when to come again, as every `exhausted` of the bus does. */
function withRetry(error: unknown): unknown {
  if (!Fault.is(error) || error.code !== 'exhausted' || 'retryAfterMs' in error.details) return error;
  return new Fault('exhausted', error.message, { reason: error.reason, details: { ...error.details, retryAfterMs: DISK_LOOK_MS }, origin: error.origin, cause: error });
}
