import { type MessagePort, Worker } from 'node:worker_threads';
import { Duplex } from 'node:stream';
import type { EdgeStatus } from '../../kernel/system.ts';
import type { Log } from '../../kernel/telemetry.ts';
import { newStreamEnds, ThreadStream } from '../../../adapters/transport/thread/thread-stream.ts';
import type { Measured } from '../host/metrics.ts';
import { writeLine } from './log-lines.ts';
import type { FromThread, ThreadData, ToThread } from './protocol.ts';
import { Pulse } from './pulse.ts';
import type { ServedToThread } from './served-to-thread.ts';
import { errorOf } from './start-problem.ts';

export interface ThreadLimits {
  /** Of its heap; a thread that needs more ends. */
  readonly heapMb: number;
  /** After so long without a turn of its event loop it is ended. */
  readonly silentMs: number;
}

export interface ThreadLifeOptions {
  /** The file that the thread runs. */
  readonly entry: URL;
  readonly data: Omit<ThreadData, 'pulse'>;
  readonly limits: ThreadLimits;
  /** What the module calls, for this life alone. */
  readonly served: ServedToThread;
  readonly log: Log;
}

/** Why a thread is no more. Its words hold nothing of the module's data. */
export interface ThreadEnd {
  readonly reason: string;
  /** What it threw, for the log. */
  readonly error?: unknown;
  /** For how long the module had been ready; 0 when it never was. */
  readonly livedMs: number;
}

const LOOK_MS = 1_000;
/** Less than this is what a busy module needs now and then. */
const NOTICEABLE_MS = 3_000;
/** Loading code is computing, and takes its time on a busy machine. */
const LOADING_MS = 60_000;
/** No thread may hold up a scrape for longer. */
const MEASURE_MS = 1_000;
/** What a thread that has stopped gets to end by itself, and one that is ended from outside. */
const EXIT_MS = 1_000;
/** Of the time for a stop, what a module gets to close after the deadline for what is under way: as it has on the main thread. */
const CLOSING_SHARE = 0.2;
/** What a thread whose module cannot start gets to close what it has opened. */
const CLOSE_MS = 5_000;
const YOUNG_MB = 16;
const STOPPED = 'it was stopped';

/** One worker thread with a module in it, from its start to its end, whichever way that comes. */
export class ThreadLife {
  /** When the module is ready. Rejects with why it is not, as it would on the main thread. */
  readonly started: Promise<void>;
  /** When the thread is gone, or given up by `stop`. Never rejects. */
  readonly ended: Promise<ThreadEnd>;
  /** What its module calls, as of a second ago. */
  edges: readonly EdgeStatus[] = [];
  /** What waits in the module's database for a bus that takes nothing, for people. */
  waiting: readonly string[] = [];
  readonly #worker: Worker;
  readonly #options: ThreadLifeOptions;
  readonly #pulse = new Pulse();
  readonly #streams = new Set<Duplex>();
  readonly #watch: NodeJS.Timeout;
  readonly #start = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<ThreadEnd>();
  /** By `performance.now()`; undefined while it has not started. */
  #startedAt: number | undefined;
  #seenBeats = 0;
  #silentMs = 0;
  #reason: string | undefined;
  #error: unknown;
  readonly #drained = Promise.withResolvers<void>();
  #stopped: PromiseWithResolvers<string | null> | undefined;
  #measuring: PromiseWithResolvers<Measured | undefined> | undefined;
  #isGone = false;

  constructor(options: ThreadLifeOptions) {
    const { entry, data, limits } = options;
    this.#options = options;
    this.#worker = new Worker(entry, {
      name: data.module,
      workerData: { ...data, pulse: this.#pulse.shared } satisfies ThreadData,
      resourceLimits: { maxOldGenerationSizeMb: limits.heapMb, maxYoungGenerationSizeMb: YOUNG_MB },
      stdin: false,
    });
    this.started = this.#start.promise;
    this.ended = this.#end.promise;
    // Whoever waits for the end alone hears of it there.
    this.started.catch(() => {});
    this.#worker.on('message', (message: FromThread) => this.#take(message));
    this.#worker.on('error', (error: unknown) => this.#broke(error));
    this.#worker.once('exit', (code) => this.#over(`it ended by itself (exit code ${code})`));
    this.#watch = setInterval(() => this.#look(), LOOK_MS);
  }

  /** How long its event loop has not turned since it started, when that is long enough to speak of. */
  get silence(): string | null {
    return this.#silentMs >= NOTICEABLE_MS && this.#startedAt !== undefined && !this.#isGone ? `has not answered for ${Math.round(this.#silentMs / 1_000)} s` : null;
  }

  /** A stream to the module, for calls; one that is destroyed when there is nobody. */
  connect(): Duplex {
    if (this.#startedAt === undefined || this.#isGone || this.#stopped !== undefined) return new Duplex().destroy(new Error('The thread is not running.'));
    const [here, there] = newStreamEnds();
    this.#tell({ kind: 'connection', end: there }, [there.port]);
    return this.#kept(new ThreadStream(here));
  }

  /** Its metrics now; undefined when it does not say so in time. */
  async measure(): Promise<Measured | undefined> {
    if (this.#startedAt === undefined || this.#isGone) return undefined;
    if (this.#measuring === undefined) {
      this.#measuring = Promise.withResolvers();
      this.#tell({ kind: 'measure' });
    }
    const { promise } = this.#measuring;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => (timer = setTimeout(resolve, MEASURE_MS, undefined)));
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  /** Lets the module finish the messages that it has; answers at the deadline all the same. */
  async drain(deadlineMs: number): Promise<void> {
    if (this.#startedAt === undefined || this.#isGone) return;
    this.#tell({ kind: 'drain', deadlineMs });
    await within<unknown>(Promise.race([this.#drained.promise, this.ended]), deadlineMs, undefined);
  }

  /** Lets the module finish what is under way, then ends the thread; at the deadline ends it all the same. Answers what did not go in order. */
  async stop(deadlineMs: number): Promise<string | null> {
    if (this.#isGone) return null;
    const problem = this.#startedAt === undefined ? null : await this.#finish(deadlineMs);
    this.kill(STOPPED);
    if (await within(this.ended.then(() => true), EXIT_MS, false)) return problem;
    // Nothing ends a thread in the middle of native code, such as a database's: the rest of the host does not wait for it.
    this.#worker.unref();
    this.#over(STOPPED);
    return `${problem ?? 'it did not end'}, and cannot be interrupted`;
  }

  /** At once, whatever it does, unless that is native code: then as soon as it returns. */
  kill(reason: string): void {
    this.#reason ??= reason;
    void this.#worker.terminate();
  }

  async #finish(deadlineMs: number): Promise<string | null> {
    this.#stopped = Promise.withResolvers();
    this.#tell({ kind: 'stop', deadlineMs: deadlineMs * (1 - CLOSING_SHARE) });
    const broke = this.ended.then(({ reason }) => `${reason} while it stopped`);
    const problem = await within(Promise.race([this.#stopped.promise, broke]), deadlineMs, 'it did not stop in time');
    if (problem === null) await within<unknown>(this.ended, EXIT_MS, undefined);
    return problem;
  }

  #take(message: FromThread): void {
    switch (message.kind) {
      case 'started':
        this.#startedAt = performance.now();
        this.#silentMs = 0;
        return this.#start.resolve();
      case 'refused':
        this.#error = errorOf(message.problem);
        this.#reason = 'it could not start';
        void within<unknown>(this.ended, CLOSE_MS, undefined).then(() => this.kill('it could not start'));
        return this.#start.reject(this.#error);
      case 'drained':
        return this.#drained.resolve();
      case 'stopped':
        this.#reason ??= STOPPED;
        return this.#stopped?.resolve(message.problem);
      case 'connection':
        return this.#options.served.accept(this.#kept(new ThreadStream(message.end)));
      case 'measured':
        this.#measuring?.resolve(message.metrics);
        this.#measuring = undefined;
        return;
      case 'edges':
        this.edges = message.edges;
        this.waiting = message.waiting;
        return;
      case 'log':
        this.#pulse.lineTaken();
        return writeLine(this.#options.log, message);
    }
  }

  /** Anything may be thrown, also nothing. */
  #broke(error: unknown): void {
    this.#error = error;
    this.#reason ??= (error as NodeJS.ErrnoException | null | undefined)?.code === 'ERR_WORKER_OUT_OF_MEMORY' ? `it ran out of memory (threads.heapMb: ${this.#options.limits.heapMb})` : 'it threw an error that nobody caught';
  }

  /** Counts looks, not time: after the process itself stood still, one look finds a beat. */
  #look(): void {
    const { beats } = this.#pulse;
    this.#silentMs = beats === this.#seenBeats ? this.#silentMs + LOOK_MS : 0;
    this.#seenBeats = beats;
    const { silentMs } = this.#options.limits;
    if (this.#silentMs >= (this.#startedAt === undefined ? Math.max(silentMs, LOADING_MS) : silentMs)) this.kill(`it did not answer for ${Math.round(this.#silentMs / 1_000)} s (threads.silentMs)`);
  }

  #over(byItself: string): void {
    if (this.#isGone) return;
    this.#isGone = true;
    clearInterval(this.#watch);
    const livedMs = this.#startedAt === undefined ? 0 : performance.now() - this.#startedAt;
    const end: ThreadEnd = { reason: this.#reason ?? byItself, livedMs, ...(this.#error !== undefined && { error: this.#error }) };
    // The ports tell of the end too, each in its time; calls are not to wait for that.
    for (const stream of this.#streams) stream.destroy(new Error(`The thread is gone: ${end.reason}.`));
    this.#measuring?.resolve(undefined);
    this.#start.reject(this.#error instanceof Error ? this.#error : new Error(`The thread of ${this.#options.data.module} ended before it was ready: ${end.reason}.`));
    this.#options.served.close().catch((err: unknown) => this.#options.log.error({ module: this.#options.data.module, err }, 'what a thread had in hand was not given back in order'));
    this.#end.resolve(end);
  }

  #kept(stream: ThreadStream): ThreadStream {
    this.#streams.add(stream);
    return stream.once('close', () => this.#streams.delete(stream));
  }

  #tell(message: ToThread, transfer: readonly MessagePort[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}

async function within<T>(work: Promise<T>, ms: number, late: T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  return Promise.race([work, new Promise<T>((resolve) => (timer = setTimeout(resolve, ms, late)))]).finally(() => clearTimeout(timer));
}
