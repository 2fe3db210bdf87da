import { createRequire } from 'node:module';
import type { Client, ClientConfig, QueryConfig, QueryResult } from 'pg';
import type { PostgresSettings } from './driver.ts';
import { types } from './values.ts';

/** When the first connection is made: few installations have a use for it, and each start would wait for it. */
const load = createRequire(import.meta.url);

/** The server lets go of a transaction that no client moves: that of a frozen process keeps the others from writing. */
export const IDLE_IN_TRANSACTION_MS = 7_000;

/** What a connection is for. A reader's refuses writes; a long read may rest as long as its consumer does. */
export type Role = 'writer' | 'reader' | 'scan';

/** `label` tells the connections of one storage from those of others to the same schema. */
export function clientConfig(settings: PostgresSettings, schema: string, label: string, role: Role): ClientConfig {
  const { host, port, database, user, password, tls, ca, durability, connectTimeoutMs, answerTimeoutMs } = settings;
  const session: Record<string, string | number> = {
    search_path: `"${schema}"`,
    client_min_messages: 'warning',
    synchronous_commit: durability === 'power-loss' ? 'on' : 'off',
    lock_timeout: answerTimeoutMs,
    statement_timeout: role === 'reader' ? answerTimeoutMs : 0,
    idle_in_transaction_session_timeout: role === 'scan' ? 0 : IDLE_IN_TRANSACTION_MS,
    default_transaction_read_only: role === 'writer' ? 'off' : 'on',
  };
  return {
    host,
    port,
    database,
    user,
    // A function keeps pg from looking for one in the environment and in files.
    password: () => password ?? '',
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

/** One connection of the storage's own. Statements may be sent before those ahead of them are answered. */
export class Session {
  readonly #client: Client;
  #broken = false;

  private constructor(client: Client) {
    this.#client = client;
    client.on('error', () => (this.#broken = true));
    client.on('end', () => (this.#broken = true));
  }

  /** Throws what pg throws. */
  static async open(config: ClientConfig): Promise<Session> {
    const { Client: Connection } = load('pg') as typeof import('pg');
    const session = new Session(new Connection({ ...config, pipeline: true }));
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

  query(config: QueryConfig): Promise<QueryResult> {
    return this.#client.query(config);
  }

  /** Statements of the storage's own in one trip. Resolves with the tag of the last. */
  async control(sql: string): Promise<string> {
    const results = (await this.#client.query(sql)) as QueryResult | QueryResult[];
    return (Array.isArray(results) ? results.at(-1)! : results).command;
  }

  /** The same, cutting the connection when the server has not answered by then. */
  async controlWithin(sql: string, timeoutMs: number): Promise<string> {
    const timer = setTimeout(() => this.destroy(), timeoutMs);
    try {
      return await this.control(sql);
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
}
