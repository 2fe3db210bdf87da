import type { Compilable, Kysely } from 'kysely';
import type { QueryResult } from 'pg';
import type { LongReader, Statement } from '../../../src/ports/storage.ts';
import { batchRowsOf } from '../shared/limits.ts';
import type { Answer } from './burst.ts';
import { kyselyOver } from './dialect.ts';
import type { Readers } from './readers.ts';
import type { Replica } from './replica.ts';
import { scan } from './scan.ts';
import { type Query, queryOf, resultOf, type Statements } from './statements.ts';

type ScanOptions = { readonly batchRows?: number; readonly signal?: AbortSignal };

export interface ListsOptions {
  readonly replica: Replica;
  /** What else answers. */
  readonly primary: { readonly readers: Readers; scan<Row>(query: Compilable<Row>, options: ScanOptions): AsyncIterable<Row[]> };
  readonly statements: Statements;
  /** Ends long reads. */
  readonly signal: AbortSignal;
}

/** Reads from the replica what it can answer; from the first that it cannot on, all from the primary, so that nothing goes back in time. */
export class Lists implements LongReader<any> {
  readonly db: Kysely<any>;
  readonly #options: ListsOptions;
  readonly #position: string | null | undefined;
  #isAtPrimary = false;

  constructor(options: ListsOptions, position: string | null | undefined) {
    this.#options = options;
    this.#position = position;
    this.db = kyselyOver(async (sql, parameters) => resultOf(await this.#query(queryOf(sql, parameters))));
  }

  async run<Params, Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]> {
    return (await this.#query(this.#options.statements.query(statement, params))).rows as Row[];
  }

  async *scan<Row>(query: Compilable<Row>, options: ScanOptions = {}): AsyncGenerator<Row[], void, void> {
    const { replica, primary, signal } = this.#options;
    const there = await replica.scanners(this.#position);
    if (there === undefined) return yield* primary.scan(query, options);
    const { sql, parameters } = query.compile();
    const stop = options.signal === undefined ? signal : AbortSignal.any([options.signal, signal]);
    const batches = scan<Row>({ readers: there.readers, query: queryOf(sql, parameters), batchRows: batchRowsOf(options), signal: AbortSignal.any([stop, there.ended]) });
    let isBegun = false;
    try {
      for await (const batch of batches) {
        isBegun = true;
        yield batch;
      }
      return;
    } catch (error) {
      if (stop.aborted) throw error;
      const told = replica.scanFailed(error);
      if (isBegun) throw told;
    }
    yield* primary.scan(query, options);
  }

  async #query(query: Query): Promise<Answer | QueryResult> {
    const { replica, primary } = this.#options;
    const answer = this.#isAtPrimary ? undefined : await replica.query(query, this.#position);
    if (answer === undefined) this.#isAtPrimary = true;
    return answer ?? primary.readers.query(query);
  }
}
