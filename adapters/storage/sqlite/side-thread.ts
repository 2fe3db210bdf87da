import { Worker } from 'node:worker_threads';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Batch, type CheckpointMode, type SideReply, type SideRequest, SNAPSHOT_GONE, type WalState } from './side-protocol.ts';

interface Waiter {
  resolve(value: WalState | Batch | undefined): void;
  reject(error: unknown): void;
}

type Ask<K extends SideRequest['kind']> = Omit<Extract<SideRequest, { kind: K }>, 'id'>;

/**
 * The one side thread of this process, shared by all its databases (a thread costs some 10 MB): started when first
 * asked, started again after a crash, gone with the last user. It keeps the process alive only while it owes an answer.
 */
class SideThread {
  #worker: Worker | undefined;
  #users = 0;
  #lastId = 0;
  readonly #waiters = new Map<number, Waiter>();

  retain(): void {
    this.#users++;
  }

  async leave(): Promise<void> {
    if (--this.#users > 0) return;
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  get running(): boolean {
    return this.#worker !== undefined;
  }

  checkpoint(path: string, mode: CheckpointMode): Promise<WalState> {
    return this.#ask({ kind: 'checkpoint', path, mode }) as Promise<WalState>;
  }

  /** The first batch of a new cursor, which has the id that `newCursor` gave. */
  scan(request: Ask<'scan'>): Promise<Batch> {
    return this.#ask(request) as Promise<Batch>;
  }

  next(cursor: number): Promise<Batch> {
    return this.#ask({ kind: 'next', cursor }) as Promise<Batch>;
  }

  /** The snapshot has the id that `newCursor` gave. */
  async hold(request: Ask<'snapshot'>): Promise<void> {
    await this.#ask(request);
  }

  async release(snapshot: number): Promise<void> {
    if (this.running) await this.#ask({ kind: 'release', snapshot });
  }

  newCursor(): number {
    return ++this.#lastId;
  }

  async end(cursor: number): Promise<void> {
    if (this.running) await this.#ask({ kind: 'end', cursor });
  }

  async close(path: string): Promise<void> {
    if (this.running) await this.#ask({ kind: 'close', path });
  }

  #ask(request: Ask<'checkpoint'> | Ask<'snapshot'> | Ask<'release'> | Ask<'scan'> | Ask<'next'> | Ask<'end'> | Ask<'close'>): Promise<WalState | Batch | undefined> {
    const id = ++this.#lastId;
    const worker = (this.#worker ??= this.#begin());
    return new Promise((resolve, reject) => {
      this.#waiters.set(id, { resolve, reject });
      worker.ref();
      worker.postMessage({ id, ...request });
    });
  }

  #begin(): Worker {
    // Limits far above what two batches need: a runaway ends this thread, never the process.
    const worker = new Worker(new URL('./side-worker.js', import.meta.url), { name: 'sqlite-side', resourceLimits: { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 8 } });
    worker.unref();
    worker.on('message', (reply: SideReply) => this.#answer(worker, reply));
    worker.on('error', (error) => this.#gone(worker, error));
    worker.on('exit', () => this.#gone(worker, undefined));
    return worker;
  }

  #answer(worker: Worker, { id, value, error }: SideReply): void {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    if (this.#waiters.size === 0) worker.unref();
    if (error === undefined) waiter?.resolve(value);
    else waiter?.reject(errorFrom(error));
  }

  #gone(worker: Worker, cause: unknown): void {
    // One that was replaced has nobody waiting for it: its successor starts only after it is gone.
    if (this.#worker === worker) this.#worker = undefined;
    else if (this.#worker !== undefined) return;
    const fault = threadGone(cause);
    for (const waiter of this.#waiters.values()) waiter.reject(fault);
    this.#waiters.clear();
  }
}

function errorFrom({ name, message, code, errcode }: NonNullable<SideReply['error']>): Error {
  if (code === SNAPSHOT_GONE) return threadGone(undefined);
  return Object.assign(name === 'RangeError' ? new RangeError(message) : new Error(message), { code, errcode });
}

function threadGone(cause: unknown): Fault {
  return new Fault('unavailable', 'The thread for long reads ended; read again.', { reason: 'side_thread', cause });
}

export const sideThread = new SideThread();
