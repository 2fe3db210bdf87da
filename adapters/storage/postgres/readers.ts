import { createRequire } from 'node:module';
import type { ClientConfig, Pool, PoolClient, QueryConfig, QueryResult } from 'pg';
import { Fault } from '../../../src/kernel/fault.ts';
import { writeOutsideTransaction } from '../shared/faults.ts';
import type { SlowStatements } from '../shared/slow-statements.ts';
import { isAnswer, isStalePlan, isWriteOnReader, postgresFault } from './errors.ts';

/** With the storage, not with the program: few installations have a use for it. */
const load = createRequire(import.meta.url);

export interface ReadersOptions {
  readonly config: ClientConfig;
  readonly connections: number;
  /** Reads that may wait for a connection; one more is refused. */
  readonly maxWaiting: number;
  /** Left out for long reads: they may take as long as they like. */
  readonly slow?: SlowStatements;
  /** No connection is kept for the next read. */
  readonly usedOnce?: boolean;
}

/** Connections that see what is committed, opened as they are needed. */
export class Readers {
  readonly #pool: Pool;
  readonly #options: ReadersOptions;
  readonly #taken = new Set<PoolClient>();

  constructor(options: ReadersOptions) {
    this.#options = options;
    const { Pool: Connections } = load('pg') as typeof import('pg');
    this.#pool = new Connections({ ...options.config, max: options.connections, idleTimeoutMillis: 30_000, ...(options.usedOnce === true && { maxUses: 1 }) });
    // The pool drops an idle connection that breaks; the next read opens another. One that is lent out, or just about to
    // be, says so to nobody: the next question fails.
    this.#pool.on('error', ignore);
    this.#pool.on('connect', (client) => client.on('error', ignore));
  }

  /** One statement. The connection goes on after an error that the server has answered with. */
  async query(query: QueryConfig): Promise<QueryResult> {
    for (let stale = 0; ; stale++) {
      const client = await this.take();
      const began = performance.now();
      let failure: unknown;
      try {
        return await client.query(query);
      } catch (error) {
        failure = error;
      } finally {
        this.#tellIfSlow(query.text, began);
        this.giveBack(client, failure !== undefined && (!isAnswer(failure) || isStalePlan(failure)));
      }
      // Every connection may hold the plan from before another process changed the table.
      if (!isStalePlan(failure) || stale === this.#options.connections) throw readFault(failure);
    }
  }

  /** How the server would carry a statement out, whatever its values: as it plans what is prepared. */
  async explain(text: string): Promise<string> {
    const parameters = Math.max(0, ...[...text.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number)));
    const values = parameters === 0 ? '' : `(${Array.from({ length: parameters }, () => 'NULL').join(', ')})`;
    const client = await this.take();
    let isDone = false;
    try {
      const results = (await client.query(`BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; PREPARE slow AS ${text}; EXPLAIN EXECUTE slow${values}; DEALLOCATE slow; ROLLBACK`)) as unknown as QueryResult<{ 'QUERY PLAN': string }>[];
      isDone = true;
      return results[3]!.rows.map((row) => row['QUERY PLAN']).join('\n');
    } finally {
      this.giveBack(client, !isDone);
    }
  }

  #tellIfSlow(text: string, began: number): void {
    const { slow } = this.#options;
    const ms = performance.now() - began;
    if (slow !== undefined && ms >= slow.thresholdMs) slow.took([text], ms);
  }

  /** A connection for the caller alone, until it gives it back. */
  async take(): Promise<PoolClient> {
    if (this.#pool.waitingCount >= this.#options.maxWaiting) throw allTaken();
    try {
      const client = await this.#pool.connect();
      this.#taken.add(client);
      return client;
    } catch (error) {
      const isFull = this.#pool.totalCount >= this.#options.connections && error instanceof Error && error.message.startsWith('timeout exceeded');
      throw isFull ? allTaken() : postgresFault(error, 'unsent');
    }
  }

  /** `cut`: it is of no further use, or busy for somebody who has gone. Twice does nothing. */
  giveBack(client: PoolClient, cut: boolean): void {
    if (!this.#taken.delete(client)) return;
    client.release(cut);
  }

  /** Waits for reads under way, and cuts those that are not over by then. */
  async close(deadlineMs: number): Promise<void> {
    const timer = setTimeout(() => {
      for (const client of this.#taken) this.giveBack(client, true);
    }, deadlineMs);
    await this.#pool.end();
    clearTimeout(timer);
  }
}

function ignore(): void {}

export function readFault(error: unknown): Fault {
  return isWriteOnReader(error) ? writeOutsideTransaction() : postgresFault(error);
}

function allTaken(): Fault {
  return new Fault('exhausted', 'Every connection to the database is in use.', {
    reason: 'connections',
    details: { retryAfterMs: 1_000, remedy: 'Raise `readers` or `scans` of the storage, within max_connections of the server.' },
    origin: 'unsent',
  });
}
