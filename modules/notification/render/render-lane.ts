import { Worker } from 'node:worker_threads';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Problem, TemplateSource } from './liquid-engine.ts';
import { PROGRESS_BYTES, type AuthoredContent, type RenderAnswer, type RenderTask } from './protocol.ts';

export interface LaneLimits {
  /** A task that takes longer is killed with its worker. */
  readonly taskMs: number;
  /** The worker is let go after so long without work, since it holds memory. */
  readonly idleMs: number;
  readonly heapMb: number;
  /** Tasks waiting at once; more are refused. */
  readonly waiting: number;
  /** Parsed templates kept in the worker. */
  readonly templates: number;
}

export type LaneResult =
  | { readonly kind: 'parts'; readonly parts: TemplateSource }
  | { readonly kind: 'problems'; readonly problems: readonly Problem[] }
  /** The task ran into its time or its memory limit, and the worker was killed for it. */
  | { readonly kind: 'killed'; readonly why: 'template_timeout' | 'template_memory' }
  /** Not rendered here: its key has turned out too slow while it waited. */
  | { readonly kind: 'too_slow' };

/** Told of each rendering what it took, and asked before each whether it belongs here. */
export interface LaneTimes {
  note(key: string, ms: number): void;
  isTooSlow(key: string): boolean;
}

export interface RenderWork {
  readonly kind: 'render';
  readonly key: string;
  readonly source: TemplateSource;
  readonly data: object;
}
type Work = RenderWork | { readonly kind: 'parse'; readonly key: string; readonly source: TemplateSource } | { readonly kind: 'compile'; readonly content: AuthoredContent };

interface Waiting {
  readonly work: Work;
  readonly settle: (result: LaneResult) => void;
  readonly refuse: (fault: Fault) => void;
  withSource: boolean;
  killed: number;
}

/** Small enough that little is done again after a kill, large enough that the messages between threads cost little. */
const BATCH = 32;
/** While the worker has one, the next one grows: a message between threads costs as much as half a rendering. */
const BATCHES_OUT = 1;
const GATHER_MS = 2;
/** A machine that stood still must not be taken for a runaway: so many looks must have found the same task. */
const LOOKS = 4;
const STARTS_BEFORE_GIVING_UP = 3;
/** The first look comes late by up to a quarter of the time, and what a worker does beside its task is not the task's. */
const OWN_SHARE = 0.7;
/** A worker says what it has used in the middle of anything but some of the engine's own work. */
const ANSWER_MS = 500;

/** The task that the looks have found, and what its worker had used when the first of them did. */
interface Seen {
  readonly ticket: number;
  looks: number;
  readonly usedMs: Promise<number>;
}
const NOTHING_SEEN: Seen = { ticket: -1, looks: 0, usedMs: Promise.resolve(0) };

/**
 * One worker thread that renders, one task after the other, and is killed when a task does not end. Then only that
 * task fails: those behind it go to a fresh worker. A task is killed twice before it counts as a runaway.
 */
export class RenderLane {
  readonly #limits: LaneLimits;
  readonly #name: string;
  readonly #times: LaneTimes | undefined;
  readonly #queue: Waiting[] = [];
  readonly #out = new Map<number, Waiting>();
  readonly #sent = new Set<string>();
  #worker: Worker | undefined;
  #progress = new Int32Array(new SharedArrayBuffer(PROGRESS_BYTES));
  #ticket = 0;
  #batchesOut = 0;
  #flushing = false;
  #flushedAt = 0;
  #watch: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #seen: Seen = NOTHING_SEEN;
  #failedStarts = 0;
  #stopped = false;

  constructor(name: string, limits: LaneLimits, times?: LaneTimes) {
    this.#name = name;
    this.#limits = limits;
    this.#times = times;
  }

  /** Faults `exhausted` (too many waiting), `unavailable` (stopping, or no worker can be started). */
  run(work: Work): Promise<LaneResult> {
    if (this.#stopped) return Promise.reject(stopping());
    if (this.#queue.length >= this.#limits.waiting) return Promise.reject(new Fault('exhausted', 'Too many templates wait to be rendered.'));
    return new Promise((settle, refuse) => {
      this.#queue.push({ work, settle, refuse, withSource: false, killed: 0 });
      this.#schedule();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#watch);
    clearTimeout(this.#idle);
    for (const task of [...this.#out.values(), ...this.#queue.splice(0)]) task.refuse(stopping());
    this.#out.clear();
    await this.#letGo();
  }

  /** One message for all that a tick brings; for all that a few bring while there is much to do. */
  #schedule(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    const flush = (): void => {
      this.#flushing = false;
      this.#flushedAt = performance.now();
      this.#flush();
    };
    if (performance.now() - this.#flushedAt < GATHER_MS) setTimeout(flush, GATHER_MS);
    else setImmediate(flush);
  }

  #flush(): void {
    while (this.#queue.length > 0 && this.#batchesOut < BATCHES_OUT && !this.#stopped) {
      const batch = this.#queue.splice(0, this.#batchSize()).filter((task) => !this.#turnsAway(task));
      if (batch.length === 0) continue;
      const worker = (this.#worker ??= this.#startWorker());
      worker.postMessage(batch.map((task) => this.#issue(task)));
      this.#batchesOut++;
    }
    this.#mind();
  }

  /** Whoever has been killed once runs alone, so that it takes nobody with it. */
  #batchSize(): number {
    const suspect = this.#queue.findIndex((task) => task.killed > 0);
    if (suspect === 0) return 1;
    return suspect < 0 ? BATCH : Math.min(suspect, BATCH);
  }

  #turnsAway({ work, settle }: Waiting): boolean {
    const isTooSlow = work.kind === 'render' && this.#times?.isTooSlow(work.key) === true;
    if (isTooSlow) settle({ kind: 'too_slow' });
    return isTooSlow;
  }

  #note({ work }: Waiting, ms: number): void {
    if (work.kind === 'render') this.#times?.note(work.key, ms);
  }

  #issue(task: Waiting): RenderTask {
    this.#ticket = (this.#ticket + 1) & 0x7fffffff || 1;
    const ticket = this.#ticket;
    this.#out.set(ticket, task);
    const { work } = task;
    if (work.kind === 'compile') return { kind: 'compile', ticket, content: work.content };
    const { key, source } = work;
    if (work.kind === 'render' && this.#sent.has(key) && !task.withSource) return { kind: 'render', ticket, key, data: work.data };
    if (this.#sent.size >= this.#limits.templates) this.#sent.clear();
    this.#sent.add(key);
    return work.kind === 'parse' ? { kind: 'parse', ticket, key, source } : { kind: 'render', ticket, key, source, data: work.data };
  }

  #startWorker(): Worker {
    this.#progress = new Int32Array(new SharedArrayBuffer(PROGRESS_BYTES));
    this.#sent.clear();
    const { heapMb, templates } = this.#limits;
    const worker = new Worker(new URL('./render-worker.js', import.meta.url), {
      name: this.#name,
      workerData: { progress: this.#progress, templates },
      resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 },
      // Templates have no business with the environment's secrets.
      env: {},
      stdin: false,
    });
    worker.on('message', (answers: RenderAnswer[]) => this.#receive(worker, answers));
    worker.on('error', () => this.#lost(worker, 'template_memory'));
    worker.on('exit', () => this.#lost(worker, 'template_memory'));
    return worker;
  }

  #receive(worker: Worker, answers: readonly RenderAnswer[]): void {
    if (worker !== this.#worker) return;
    this.#batchesOut--;
    this.#failedStarts = 0;
    this.#queue.unshift(...answers.flatMap((answer) => this.#settle(answer) ?? []));
    this.#flush();
  }

  /** Answers the task when it has to be given to the worker again. */
  #settle({ ticket, ms, outcome }: RenderAnswer): Waiting | undefined {
    const task = this.#out.get(ticket);
    if (task === undefined) return undefined;
    this.#out.delete(ticket);
    if (outcome.kind === 'unstarted') return task;
    if (outcome.kind === 'template_missing') {
      task.withSource = true;
      return task;
    }
    this.#note(task, ms);
    task.settle(outcome);
    return undefined;
  }

  /** Starts or ends the timers that go with being busy or idle. */
  #mind(): void {
    const busy = this.#out.size > 0;
    if (busy === (this.#watch !== undefined)) return;
    if (busy) {
      clearTimeout(this.#idle);
      this.#seen = NOTHING_SEEN;
      this.#watch = setInterval(() => this.#look(), this.#limits.taskMs / LOOKS);
      this.#worker?.ref();
    } else {
      clearInterval(this.#watch);
      this.#watch = undefined;
      this.#worker?.unref();
      this.#idle = setTimeout(() => void this.#letGo(), this.#limits.idleMs).unref();
    }
  }

  #look(): void {
    const ticket = Atomics.load(this.#progress, 0);
    if (ticket !== this.#seen.ticket) this.#seen = { ticket, looks: 0, usedMs: usedBy(this.#worker) };
    // 0 is a worker that starts or has just finished; starting has ten times the time.
    else if (++this.#seen.looks >= (ticket === 0 ? LOOKS * 10 : LOOKS)) void this.#judge(this.#seen);
  }

  /** By what the task has had of a processor: a machine that is busy with other things makes no runaway. */
  async #judge(seen: Seen): Promise<void> {
    const worker = this.#worker;
    const [before, now] = await Promise.all([seen.usedMs, usedBy(worker)]);
    if (worker !== this.#worker || seen !== this.#seen || seen.ticket !== Atomics.load(this.#progress, 0)) return;
    const hasHadItsTime = seen.ticket === 0 || !(now - before < this.#limits.taskMs * OWN_SHARE);
    if (hasHadItsTime || seen.looks >= LOOKS * 10) this.#kill();
  }

  #kill(): void {
    const worker = this.#worker;
    if (worker === undefined) return;
    this.#lost(worker, 'template_timeout');
    void worker.terminate();
  }

  #lost(worker: Worker, why: 'template_timeout' | 'template_memory'): void {
    if (worker !== this.#worker) return;
    this.#worker = undefined;
    this.#batchesOut = 0;
    const at = Atomics.load(this.#progress, 0);
    const unfinished = [...this.#out].sort(([a], [b]) => a - b);
    this.#out.clear();
    if (at === 0 && unfinished.length > 0) this.#failedStarts++;
    const again: Waiting[] = [];
    for (const [ticket, task] of unfinished) {
      if (ticket === at) this.#note(task, this.#limits.taskMs);
      if (ticket === at && ++task.killed > 1) task.settle({ kind: 'killed', why });
      else again.push(task);
    }
    // Suspects last: the others have waited long enough for them.
    this.#queue.unshift(...again.filter((task) => task.killed === 0), ...again.filter((task) => task.killed > 0));
    if (this.#failedStarts >= STARTS_BEFORE_GIVING_UP) this.#refuseAll();
    this.#mind();
    if (this.#queue.length > 0) this.#schedule();
  }

  #refuseAll(): void {
    this.#failedStarts = 0;
    for (const task of this.#queue.splice(0)) task.refuse(new Fault('unavailable', 'The renderer does not start.'));
  }

  async #letGo(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#batchesOut = 0;
    await worker?.terminate();
  }
}

/** ms; as much as there can be where the worker does not say, since it is stuck or gone. */
async function usedBy(worker: Worker | undefined): Promise<number> {
  if (worker === undefined) return 0;
  const silence = Promise.withResolvers<number>();
  const timer = setTimeout(() => silence.resolve(Infinity), ANSWER_MS);
  const used = worker.cpuUsage().then(({ user, system }) => (user + system) / 1_000, () => Infinity);
  return Promise.race([used, silence.promise]).finally(() => clearTimeout(timer));
}

function stopping(): Fault {
  return new Fault('unavailable', 'The renderer is stopping.', { origin: 'unsent' });
}

