import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Client, ClientConfig, QueryResult, Submittable } from 'pg';
import { type Answer, type Breach, Burst, Prepared, type Step } from './burst.ts';
import type { SlowStatements } from '../shared/slow-statements.ts';
import type { PostgresSettings } from './driver.ts';
import { isAnswer, passwordUnreadable } from './errors.ts';
import { types } from './values.ts';

/** When the first connection is made: few installations have a use for it, and each start would wait for it. */
const load = createRequire(import.meta.url);

/** The server lets go of a transaction that no client moves: that of a frozen process keeps the others from writing. */
export const IDLE_IN_TRANSACTION_MS = 7_000;

/** What a connection is for. A reader's refuses writes; a long read may rest as long as its consumer does. */
export type Role = 'writer' | 'reader' | 'scan';

/** `label` tells the connections of one storage from those of others to the same schema. */
export function clientConfig(settings: PostgresSettings, schema: string, label: string, role: Role): ClientConfig {
  const { host, port, database, user, tls, ca, durability, connectTimeoutMs, answerTimeoutMs } = settings;
  const session: Record<string, string | number> = {
    search_path: `"${schema}"`,
    client_min_messages: 'warning',
    synchronous_commit: durability === 'power-loss' ? 'on' : 'off',
    lock_timeout: answerTimeoutMs,
    statement_timeout: role === 'reader' ? answerTimeoutMs : 0,
    idle_in_transaction_session_timeout: role === 'scan' ? 0 : IDLE_IN_TRANSACTION_MS,
    default_transaction_read_only: role === 'writer' ? 'off' : 'on',
    // What is sent together outside a transaction is one, too, and what is first in it must not settle what the rest sees.
    default_transaction_isolation: 'read\\ committed',
  };
  return {
    host,
    port,
    database,
    user,
    // A function keeps pg from looking for one in the environment and in files.
    password: () => passwordOf(settings),
    ssl: tls ? { ...(ca !== undefined && { ca }) } : false,
    client_encoding: 'UTF8',
    application_name: `multilith ${label} ${schema}`,
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types,
    options: Object.entries(session).map(([name, value]) => `-c ${name}=${value}`).join(' '),
  };
}

function passwordOf({ password, passwordFile }: PostgresSettings): string {
  try {
    return password ?? (passwordFile === undefined ? '' : readFileSync(passwordFile, 'utf8').trim());
  } catch (error) {
    throw passwordUnreadable(error);
  }
}

/** One statement, and who is told of its answer, or of the failure of one before it. */
export interface Entry extends Step {
  failed(error: unknown): void;
}

/** What sets two transactions of a group apart, or ends the group. Which statements do so hangs on whether one has failed before. */
export interface Mark {
  readonly normally: readonly string[];
  /** In place of `normally`. Takes back the failed transaction, so that those behind it go on. */
  readonly afterFailure: readonly string[];
}

interface MarkEntry {
  readonly mark: Mark;
  done(answer: Answer): void;
  failed(error: unknown): void;
}

/**
 * One connection of the storage's own. Statements may be sent before those ahead of them are answered: what is sent
 * while others are on their way goes as one burst when these are back. When a statement fails, those behind it fail
 * like it up to the next mark; the server has skipped what is behind that, so that it is sent again.
 */
export class Session {
  /** Of the values of statements that are not answered yet; counted by those who send them. */
  heldCharacters = 0;
  readonly #client: Client;
  readonly #prepared = new Prepared();
  #waiting: (Entry | MarkEntry)[] = [];
  #isUnderWay = false;
  /** A statement has failed since the last mark. */
  #hasFailed = false;
  #broken = false;

  readonly #slow: SlowStatements | undefined;

  private constructor(client: Client, slow: SlowStatements | undefined) {
    this.#client = client;
    this.#slow = slow;
    client.on('error', () => (this.#broken = true));
    client.on('end', () => (this.#broken = true));
  }

  /** `slow` is told of bursts that take long. Throws what pg throws. */
  static async open(config: ClientConfig, slow?: SlowStatements): Promise<Session> {
    const { Client: Connection } = load('pg') as typeof import('pg');
    const session = new Session(new Connection(config), slow);
    try {
      await session.#client.connect();
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  /** False when the connection is of no further use. */
  get usable(): boolean {
    return !this.#broken;
  }

  get processId(): number {
    return (this.#client as unknown as { processID: number }).processID;
  }

  send(entry: Entry): void {
    this.#enqueue(entry);
  }

  /** Resolves with the answer to the last statement of the mark. One that fails breaks the connection. */
  mark(mark: Mark): Promise<Answer> {
    return new Promise((done, failed) => this.#enqueue({ mark, done, failed }));
  }

  /** Statements of the storage's own in one trip, while nothing else is on its way. Resolves with the rows of the last. */
  async control(sql: string): Promise<Record<string, unknown>[]> {
    const results = (await this.#client.query(sql)) as QueryResult | QueryResult[];
    return (Array.isArray(results) ? results.at(-1)! : results).rows;
  }

  /** What the promise is of, cutting the connection when the server has not answered by then. */
  async within<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.destroy(), timeoutMs);
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  }

  async close(timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => this.destroy(), timeoutMs);
    await this.#client.end().catch(() => {});
    clearTimeout(timer);
  }

  /** At once; what has not been answered fails. */
  destroy(): void {
    this.#broken = true;
    (this.#client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }

  #enqueue(entry: Entry | MarkEntry): void {
    this.#waiting.push(entry);
    this.#depart();
  }

  /** What the answers just in have to say next is of the party. */
  #depart(): void {
    if (this.#isUnderWay || this.#waiting.length === 0) return;
    this.#isUnderWay = true;
    queueMicrotask(() => process.nextTick(() => this.#send()));
  }

  #send(): void {
    const entries = this.#waiting;
    this.#waiting = [];
    const steps: Step[] = [];
    const entryOf: number[] = [];
    entries.forEach((entry, i) => {
      const own = 'mark' in entry ? this.#stepsOf(entry) : [entry];
      steps.push(...own);
      for (const _ of own) entryOf.push(i);
    });
    // The server may say farewell right behind the last answer.
    entryOf.push(entries.length);
    const began = performance.now();
    const burst = new Burst(steps, this.#prepared, (breach) => {
      this.#isUnderWay = false;
      this.#tellIfSlow(entries, began);
      if (breach !== undefined) this.#failed(entries.slice(entryOf[breach.at]), breach);
      this.#depart();
    });
    this.#client.query(burst as Submittable);
  }

  /** What sets transactions apart has no plan. */
  #tellIfSlow(entries: readonly (Entry | MarkEntry)[], began: number): void {
    const ms = performance.now() - began;
    if (this.#slow !== undefined && ms >= this.#slow.thresholdMs) this.#slow.took(entries.flatMap((entry) => ('mark' in entry ? [] : [entry.query.text])), ms);
  }

  #stepsOf({ mark, done, failed }: MarkEntry): Step[] {
    const texts = this.#hasFailed ? mark.afterFailure : mark.normally;
    this.#hasFailed = false;
    return texts.map((text, i) => ({ query: { name: text, text, values: [] }, done: i === texts.length - 1 ? done : () => {}, unreadable: failed }));
  }

  /** `unanswered` begins with the one that failed; empty when the connection ended behind the last answer. */
  #failed(unanswered: readonly (Entry | MarkEntry)[], { error }: Breach): void {
    const [first] = unanswered;
    const rest = [...unanswered, ...this.#waiting];
    this.#waiting = [];
    this.#hasFailed = true;
    if (!isAnswer(error) || first === undefined || 'mark' in first) {
      this.destroy();
      for (const entry of rest) entry.failed(error);
      return;
    }
    const next = rest.findIndex((entry) => 'mark' in entry);
    const lost = next < 0 ? rest.length : next;
    this.#waiting = rest.slice(lost);
    for (const entry of rest.slice(0, lost)) entry.failed(error);
  }
}
