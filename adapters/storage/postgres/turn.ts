import type { QueryConfig, QueryResult } from 'pg';
import { Fault } from '../../../src/kernel/fault.ts';
import { postgresFault } from './errors.ts';
import type { Session } from './session.ts';

/** What a transaction under way may use; closed for good when it has settled. */
export class Turn {
  readonly #session: Session;
  #over: Fault | undefined;
  #failure: Fault | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #pending = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  /** The first statement that failed: PostgreSQL takes none after it, and keeps none before it. */
  get failure(): Fault | undefined {
    return this.#failure;
  }

  get isWaiting(): boolean {
    return this.#pending > 0;
  }

  async execute(query: QueryConfig): Promise<QueryResult> {
    const refusal = this.#over ?? this.#failure;
    if (refusal !== undefined) throw refusal;
    const answer = this.#session.query(query);
    this.#pending++;
    this.#last = answer.catch(() => {});
    try {
      return await answer;
    } catch (error) {
      // A value that cannot be told exactly: the server is none the wiser.
      if (Fault.is(error)) throw error;
      throw (this.#failure ??= postgresFault(error, 'unsent'));
    } finally {
      this.#pending--;
    }
  }

  close(fault: Fault): void {
    this.#over ??= fault;
  }

  /** Resolves when the server has answered all that was asked, also what nobody waits for. */
  async answered(): Promise<void> {
    await this.#last;
  }
}
