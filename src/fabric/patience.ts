import { Starting } from './starting.ts';

export interface PatienceOptions {
  /** Whether anybody is connected now. */
  readonly isOpen: () => boolean;
  /** Whether somebody can be called now. */
  readonly isCallable: (contract: string) => boolean;
  /** Monotonic, in ms. */
  readonly now: () => number;
}

/** A callee that was there a moment ago is waited for, within the deadline; one that has been away longer is not. */
const AWAY_MS = 10_000;
/** The same for one that stopped in order: on a small and busy machine a start takes its time. */
export const RETURN_MS = 30_000;
/** Calls that wait for a host at a time; what comes on top fails at once. */
const MOST_WAITING = 4_096;

/** Who waits for a host of which nobody can be called now, and for how long that is worth it. */
export class Patience {
  readonly #options: PatienceOptions;
  readonly #waiting = new Set<() => void>();
  /** By contract: who waits for its module to come back or to start. */
  readonly #starting = new Map<string, Starting>();
  #lastOpen: number;
  /** The process that was lost last had said that it stops. */
  #leftInOrder = false;
  #closed = false;

  constructor(options: PatienceOptions) {
    this.#options = options;
    this.#lastOpen = options.now();
  }

  /**
   * For how long somebody is still expected back who has stopped in order, and is most likely being started again; 0
   * after a process that was killed or cut off, which may be gone for good.
   */
  get returnMs(): number {
    return this.#leftInOrder && !this.#closed ? Math.max(0, this.#lastOpen + RETURN_MS - this.#options.now()) : 0;
  }

  /** Whether somebody could be called there moments ago, so that waiting for a change may be worth it, and there is room to. */
  get mayWait(): boolean {
    this.#noteOpen();
    if (this.#closed || this.#options.now() - this.#lastOpen >= this.#patienceMs) return false;
    let waiting = this.#waiting.size;
    for (const { size } of this.#starting.values()) waiting += size;
    return waiting < MOST_WAITING;
  }

  /**
   * A process has answered that it has nobody for calls of the contract, as it does while it starts. Answers for how
   * long waiting may be worth it: 0 when nothing else has been heard for long.
   */
  hopeMs(contract: string): number {
    const starting = this.#line(contract);
    return this.mayWait ? Math.max(0, starting.since + this.#patienceMs - this.#options.now()) : 0;
  }

  /**
   * Calls `listener` once, when the contract's module is to be asked: as one of the first when somebody can be called
   * again, as one of those who wait every 100 ms, or as one of more and more once it answers. Answers what takes it back.
   */
  onceStarted(contract: string, listener: () => void): () => void {
    return this.#line(contract).wait(listener);
  }

  /** Calls `listener` once, at the next change of who can be called. Answers what takes it back. */
  onceChanged(listener: () => void): () => void {
    this.#waiting.add(listener);
    return () => this.#waiting.delete(listener);
  }

  /** The contract's module has answered a call. */
  answered(contract: string): void {
    if (this.#starting.size === 0) return;
    const starting = this.#starting.get(contract);
    if (starting === undefined) return;
    starting.answered(this.#options.now());
    if (starting.size === 0) this.#starting.delete(contract);
  }

  /** A process is connected that was not. */
  came(): void {
    for (const starting of this.#starting.values()) starting.since = this.#options.now();
  }

  /** A process that was connected is not any more. `inOrder`: it said so; left out where one that left before is cut off. */
  went(inOrder?: boolean): void {
    this.#lastOpen = this.#options.now();
    if (inOrder !== undefined) this.#leftInOrder = inOrder;
  }

  /** Who can be called has changed. */
  wake(): void {
    this.#noteOpen();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const listener of waiting) listener();
    for (const [contract, starting] of this.#starting) {
      if (this.#options.isCallable(contract)) starting.begin();
      else starting.letGo(starting.size);
    }
  }

  /** Nobody is waited for any more. */
  close(): void {
    this.#closed = true;
    this.wake();
  }

  get #patienceMs(): number {
    return this.#leftInOrder ? RETURN_MS : AWAY_MS;
  }

  #noteOpen(): void {
    if (this.#options.isOpen()) this.#lastOpen = this.#options.now();
  }

  #line(contract: string): Starting {
    const starting = this.#starting.get(contract) ?? new Starting(this.#options.now());
    this.#starting.set(contract, starting);
    return starting;
  }
}
