import type { Clock, EpochMs } from '../kernel/clock.ts';
import { type Call, cancelledFault, deadlineFault } from '../kernel/call.ts';
import { Fault, toFault } from '../kernel/fault.ts';

interface FlightOptions {
  readonly request: unknown;
  /** Of `RecentDrops`, when it began. */
  readonly token: number;
  /** Of the operation, from when it began. */
  readonly deadline: EpochMs;
  /** When it is over at the latest: `deadline`, or later when it may wait for a callee that is being started again. */
  readonly end: EpochMs;
  /** Nobody waits for it: it goes on when all who joined it have cancelled. */
  readonly background: boolean;
}

/**
 * One call for all who ask the same at the same time. It has the operation's own deadline; whoever waits keeps theirs,
 * and leaves without taking the others along. When everybody who waited has cancelled, it is called off. Somebody's
 * nearer deadline does not call it off: its answer will be there for the next.
 */
export class Flight<T> {
  readonly request: unknown;
  readonly token: number;
  readonly deadline: EpochMs;
  readonly end: EpochMs;
  readonly background: boolean;
  /** Why it failed itself, as against somebody who gave up waiting for it. */
  failure: Fault | undefined;
  readonly #calledOff = new AbortController();
  readonly #landed: () => void;
  #result: Promise<T> | undefined;
  #waiting = 0;

  /** @param landed Called once, when nobody may join any more. */
  constructor({ request, token, deadline, end, background }: FlightOptions, landed: () => void) {
    this.request = request;
    this.token = token;
    this.deadline = deadline;
    this.end = end;
    this.background = background;
    this.#landed = landed;
  }

  /** Aborts when it is called off. */
  get signal(): AbortSignal {
    return this.#calledOff.signal;
  }

  begin(work: () => Promise<T>): void {
    this.#result = work().then(
      (value) => {
        this.#landed();
        return value;
      },
      (thrown: unknown) => {
        this.failure = toFault(thrown);
        this.#landed();
        throw this.failure;
      },
    );
    // With nobody waiting any more its failure is nobody's.
    this.#result.catch(() => {});
  }

  wait({ deadline, cancelSignal }: Call, clock: Clock): Promise<T> {
    this.#waiting++;
    const result = this.#result!;
    if (deadline >= this.end && cancelSignal === undefined) return result;
    return new Promise((resolve, reject) => {
      const timer = deadline < this.end ? clock.at(deadline, () => leave(deadlineFault())) : undefined;
      const cancel = (): void => {
        leave(cancelledFault(cancelSignal!));
        this.#abandon();
      };
      const leave = (fault: Fault): void => {
        tidy();
        reject(fault);
      };
      const tidy = (): void => {
        timer?.cancel();
        cancelSignal?.removeEventListener('abort', cancel);
      };
      cancelSignal?.addEventListener('abort', cancel, { once: true });
      result.then(resolve, reject).finally(tidy);
    });
  }

  #abandon(): void {
    if (--this.#waiting > 0 || this.background) return;
    this.#landed();
    this.#calledOff.abort(new Fault('cancelled', 'Everybody who waited for the call has cancelled.', { origin: 'lost' }));
  }
}
