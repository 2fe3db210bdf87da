import type { Clock, Timer } from './clock.ts';
import { type Deadline, deadlines } from './deadline.ts';
import { type Lifecycle, StartStop } from './lifecycle.ts';
import type { Counter, Log, Metrics } from './telemetry.ts';

/** One connection to a server, from dialling to closing; never used again after it was lost. */
export interface Conversation {
  /** Resolves when the server has answered something sensible; a rejection means that it is not there. */
  readonly greeted: Promise<unknown>;
  /** At once, with nothing left open; what is still asked may reject or stay unanswered. */
  close(): void;
}

export interface OptionalServerSettings {
  /** What kind of server, for metrics: from a small closed set. */
  readonly kind: string;
  /** Where it is, for the log. */
  readonly address: string;
  /** The most that one question waits. */
  readonly timeoutMs: number;
  /** How long the server is left alone after it was lost, and between two tries to reach it again. */
  readonly restMs: number;
  /** Questions under way at once; what is beyond is not asked. */
  readonly mostPending: number;
  /** Whether a failure is the server's own no, e.g. for want of memory, from one that is otherwise well. */
  readonly isRefusal: (failure: unknown) => boolean;
}

/** Dialling is on nobody's way, so it may take longer than a question: names, TLS, a login. */
const SHORTEST_DIAL_MS = 250;
/** A server that refuses once refuses often. */
const REFUSAL_PAUSE_MS = 60_000;

/**
 * A server that one can do without: asked while it is well, left alone while it is not.
 *
 * Resting → dialling → open → resting: the first question that is not answered in time, or any failure of the
 * connection, ends the conversation, answers everything that is under way with undefined, and closes the socket; what a
 * frozen server has received by then it may still act upon when it thaws. Then it rests, and dials by itself; while it
 * does, questions are answered undefined at once. So a server that freezes costs each caller one time-out at most, and
 * the calls that come after it nothing.
 */
export class OptionalServer<C extends Conversation> implements Lifecycle {
  readonly #settings: OptionalServerSettings;
  readonly #dial: (lost: (why: unknown) => void) => C;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #losses: Counter;
  readonly #pending = new Set<Question>();
  #talk: C | undefined;
  #open = false;
  #problem: string | undefined;
  #saidRefusedAt = -Infinity;
  #rest: Timer | undefined;
  #onLost: () => void = () => {};
  readonly #life = new StartStop(
    () => this.#connect(),
    () => this.#close(),
  );

  /** @param dial Begins a conversation, and says when it has ended without being closed. */
  constructor(settings: OptionalServerSettings, dial: (lost: (why: unknown) => void) => C, parts: { readonly clock: Clock; readonly log: Log; readonly metrics: Metrics }) {
    this.#settings = settings;
    this.#dial = dial;
    this.#clock = parts.clock;
    this.#log = parts.log.child({ server: settings.kind, address: settings.address });
    this.#losses = parts.metrics.counter('multilith_optional_server_losses_total', 'Times that a server which one can do without stopped answering.', ['server']);
  }

  /** Resolves when the server is there, or known not to be. */
  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  get reachable(): boolean {
    return this.#open;
  }

  /** Where it is. */
  get address(): string {
    return this.#settings.address;
  }

  /** What `question` resolves with; undefined when the server is away, fails, is too slow, or has too much to do. Never rejects. */
  ask<T>(question: (conversation: C) => Promise<T>): Promise<T | undefined> {
    const talk = this.#talk;
    if (!this.#open || talk === undefined || this.#pending.size >= this.#settings.mostPending) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const pending = new Question(
        (answer) => {
          this.#pending.delete(pending);
          resolve(answer as T | undefined);
        },
        () => this.#lose(talk, `no answer within ${this.#settings.timeoutMs} ms`),
      );
      this.#pending.add(pending);
      deadlines.add(pending, Date.now() + this.#settings.timeoutMs);
      // Async, so that what is thrown at once is a failure like any other.
      (async () => question(talk))().then(
        (answer) => pending.settle(answer),
        (why: unknown) => {
          this.#lose(talk, why);
          pending.settle(undefined);
        },
      );
    });
  }

  /** Asks it to keep something. That it refuses is no loss of the server; once a minute it is told. Never rejects. */
  store(request: (conversation: C) => Promise<void>): Promise<void> {
    return this.ask((conversation) =>
      request(conversation).catch((why: unknown) => {
        if (!this.#settings.isRefusal(why)) throw why;
        this.#refused(why as Error);
      }),
    );
  }

  #refused({ message: problem }: Error): void {
    const now = this.#clock.now();
    if (now < this.#saidRefusedAt + REFUSAL_PAUSE_MS) return;
    this.#saidRefusedAt = now;
    this.#log.warn({ problem }, 'refuses to store');
  }

  async #connect(): Promise<void> {
    const talk = this.#dial((why) => this.#lose(talk, why));
    this.#talk = talk;
    const late = { slot: 0, index: -1, expire: () => this.#lose(talk, 'no answer to the greeting') };
    deadlines.add(late, Date.now() + Math.max(this.#settings.timeoutMs, SHORTEST_DIAL_MS));
    const lost = new Promise<void>((resolve) => (this.#onLost = resolve));
    const greeted = talk.greeted.then(
      () => this.#reach(talk),
      (why: unknown) => this.#lose(talk, why),
    );
    await Promise.race([greeted, lost]);
    deadlines.remove(late);
  }

  #reach(talk: C): void {
    if (talk !== this.#talk) return;
    this.#open = true;
    if (this.#problem !== undefined) this.#log.info({}, 'answers again');
    this.#problem = undefined;
  }

  #lose(talk: C, why: unknown): void {
    if (talk !== this.#talk) return;
    const problem = why instanceof Error ? why.message : String(why);
    if (this.#problem === undefined) this.#log.warn({ problem }, 'does not answer; going on without it');
    this.#problem = problem;
    if (this.#open) this.#losses.add(1, { server: this.#settings.kind });
    this.#end();
    this.#rest = this.#clock.after(this.#settings.restMs, () => void this.#connect());
    this.#onLost();
  }

  /** Forgets the conversation before closing it, since closing may say that it was lost. */
  #end(): void {
    const talk = this.#talk;
    this.#talk = undefined;
    this.#open = false;
    talk?.close();
    for (const pending of this.#pending) pending.settle(undefined);
  }

  #close(): void {
    this.#rest?.cancel();
    this.#end();
  }
}

class Question implements Deadline {
  slot = 0;
  index = -1;
  #settled = false;
  readonly #settle: (answer: unknown) => void;
  readonly #late: () => void;

  constructor(settle: (answer: unknown) => void, late: () => void) {
    this.#settle = settle;
    this.#late = late;
  }

  settle(answer: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    deadlines.remove(this);
    this.#settle(answer);
  }

  /** When it was this process that held everything up, the answer is there to be read: it gets one turn to come in. */
  expire(): void {
    setImmediate(() => {
      if (!this.#settled) this.#late();
    });
  }
}
