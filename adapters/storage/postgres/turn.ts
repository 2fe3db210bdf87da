import { Fault } from '../../../src/kernel/fault.ts';
import type { Answer } from './burst.ts';
import { postgresFault, SCHEMA_CHANGED } from './errors.ts';
import type { Session } from './session.ts';
import type { Query } from './statements.ts';

/** Writes that may be on their way unanswered; the next waits for all of them. */
const MOST_UNANSWERED = 64;
/** The same for what they hold, those of the transactions before it in the group included. */
const MOST_CHARACTERS = 4_194_304;

/** What a transaction under way may use; closed for good when it has settled. */
export class Turn {
  /** That of its group: what is seen of one is seen of all. */
  readonly position: string | null;
  readonly #session: Session;
  readonly #schemaChanged: () => void;
  #over: Fault | undefined;
  #failure: Fault | undefined;
  #isUnseen = false;
  #pending = 0;
  #waiters: (() => void)[] = [];

  /** `schemaChanged` is told of a statement that must be prepared anew. */
  constructor(session: Session, position: string | null, schemaChanged: () => void) {
    this.#session = session;
    this.position = position;
    this.#schemaChanged = schemaChanged;
  }

  /** The first statement that failed: PostgreSQL takes none after it, and keeps none before it. */
  get failure(): Fault | undefined {
    return this.#failure;
  }

  /** The same, when the work has not been told of it. */
  get unseenFailure(): Fault | undefined {
    return this.#isUnseen ? this.#failure : undefined;
  }

  get isWaiting(): boolean {
    return this.#pending > 0;
  }

  /** So much is on its way that nothing more should follow before it is answered. */
  get isFull(): boolean {
    return this.#pending >= MOST_UNANSWERED || (this.#pending > 0 && this.#session.heldCharacters >= MOST_CHARACTERS);
  }

  execute(query: Query): Promise<Answer> {
    this.#check();
    return new Promise((resolve, reject) => {
      const refuse = (fault: unknown): void => {
        this.#isUnseen = false;
        reject(fault);
      };
      this.#send(query, resolve, refuse, reject);
    });
  }

  /**
   * A write that answers no rows is sent and not waited for: the trip to the server is most of what a statement costs.
   * When it fails, so does the next statement, or the transaction.
   */
  async write(query: Query): Promise<void> {
    this.#check();
    const unseen = (): void => void (this.#isUnseen = true);
    this.#send(query, () => {}, unseen, unseen);
    if (!this.isFull) return;
    await this.answered();
    this.#check();
  }

  #check(): void {
    const refusal = this.#over ?? this.#failure;
    if (refusal === undefined) return;
    this.#isUnseen = false;
    throw refusal;
  }

  #send(query: Query, done: (answer: Answer) => void, failed: (fault: Fault) => void, unreadable: (error: unknown) => void): void {
    const characters = charactersOf(query);
    this.#pending++;
    this.#session.heldCharacters += characters;
    this.#session.send({
      query,
      done: (answer) => {
        done(answer);
        this.#answered(characters);
      },
      unreadable: (error) => {
        unreadable(error);
        this.#answered(characters);
      },
      failed: (error) => {
        this.#failure ??= postgresFault(error, 'unsent');
        if (this.#failure.reason === SCHEMA_CHANGED) this.#schemaChanged();
        failed(this.#failure);
        this.#answered(characters);
      },
    });
  }

  #answered(characters: number): void {
    this.#session.heldCharacters -= characters;
    if (--this.#pending > 0) return;
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  close(fault: Fault): void {
    this.#over ??= fault;
  }

  /** Resolves when the server has answered all that was asked, also what nobody waits for. */
  answered(): Promise<void> {
    return this.#pending === 0 ? Promise.resolve() : new Promise((resolve) => this.#waiters.push(resolve));
  }
}

function charactersOf({ values }: Query): number {
  let characters = 0;
  for (const value of values) if (typeof value === 'string' || value instanceof Uint8Array) characters += value.length;
  return characters;
}
