import type { QueryConfig, QueryResult } from 'pg';
import { Fault } from '../../../src/kernel/fault.ts';
import { postgresFault } from './errors.ts';
import type { Session } from './session.ts';

/** Writes that may be on their way unanswered; the next waits for all of them. */
const MOST_UNANSWERED = 64;

/** What a transaction under way may use; closed for good when it has settled. */
export class Turn {
  readonly #session: Session;
  #over: Fault | undefined;
  #failure: Fault | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #pending = 0;
  #isUnseen = false;

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
    this.#check();
    const answer = this.#answerTo(query);
    this.#last = answer.catch(() => {});
    try {
      return await answer;
    } catch (error) {
      if (error === this.#failure) this.#isUnseen = false;
      throw error;
    }
  }

  /**
   * A write that answers no rows is sent and not waited for: the trip to the server is most of what a statement costs.
   * When it fails, so does the next statement, or `written`.
   */
  async write(query: QueryConfig): Promise<void> {
    this.#check();
    this.#last = this.#answerTo(query).then(
      () => {},
      () => void (this.#isUnseen = true),
    );
    if (this.#pending >= MOST_UNANSWERED) await this.written();
  }

  /** Resolves when every write has been done. Throws the failure of one that the work has not been told of. */
  async written(): Promise<void> {
    await this.answered();
    if (!this.#isUnseen) return;
    this.#isUnseen = false;
    throw this.#failure;
  }

  #check(): void {
    const refusal = this.#over ?? this.#failure;
    if (refusal === undefined) return;
    this.#isUnseen = false;
    throw refusal;
  }

  async #answerTo(query: QueryConfig): Promise<QueryResult> {
    this.#pending++;
    try {
      return await this.#session.query(query);
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
