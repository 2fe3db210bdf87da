import { type Call, cancelledFault, deadlineFault } from '../kernel/call.ts';
import { type Contract } from '../kernel/contract.ts';
import { type Deadline, deadlines } from '../kernel/deadline.ts';
import { Fault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';
import { faultOf } from './callee.ts';
import { stubOf, type Target } from './target.ts';

/**
 * Calls within the process, by reference: no copy, no timer of its own, no AsyncLocalStorage. What it does keep is
 * what a remote call has: the deadline, cancellation, and faults that hide the callee's inside.
 */
export function bindInline<T>(target: Target, contract: Contract<T>, log: Log): T {
  return stubOf(contract, (method, { timeoutMs }) => {
    const operation = new Operation(target, method, timeoutMs, log);
    return (request, call) => operation.invoke(request, call);
  });
}

/** What all calls of one operation share. */
class Operation {
  readonly #target: Target;
  readonly #method: string;
  readonly #timeoutMs: number;
  readonly #log: Log;

  constructor(target: Target, method: string, timeoutMs: number, log: Log) {
    this.#target = target;
    this.#method = method;
    this.#timeoutMs = timeoutMs;
    this.#log = log;
  }

  invoke(request: unknown, call: Call): Promise<unknown> {
    const now = Date.now();
    const deadline = Math.min(call.deadline, now + this.#timeoutMs);
    if (deadline <= now) return Promise.reject(new Fault('deadline', 'The deadline had passed before the call began.', { origin: 'unsent' }));
    const { implementation } = this.#target;
    if (implementation === undefined) return Promise.reject(this.#target.notRunning());
    const inner = deadline < call.deadline ? call.with({ deadline }) : call;
    return new Promise((resolve, reject) => {
      const pending = new Pending(this, inner, resolve, reject);
      let answer: Promise<unknown>;
      try {
        if (!pending.open(now)) return;
        answer = implementation[this.#method]!(request, inner);
      } catch (thrown) {
        pending.fail(thrown);
        return;
      }
      answer.then(
        (value) => pending.succeed(value),
        (thrown: unknown) => pending.fail(thrown),
      );
    });
  }

  faultOf(thrown: unknown, call: Call): Fault {
    return faultOf(thrown, `${this.#target.contract.name}.${this.#method}`, call, this.#log);
  }
}

/** A call under way: settles once, by its answer, its deadline or its caller, whichever comes first. */
class Pending implements Deadline {
  slot = 0;
  index = -1;
  #open = true;
  readonly #operation: Operation;
  readonly #call: Call;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (fault: Fault) => void;
  #onCancel: (() => void) | undefined;

  constructor(operation: Operation, call: Call, resolve: (value: unknown) => void, reject: (fault: Fault) => void) {
    this.#operation = operation;
    this.#call = call;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** False when the caller has cancelled already. */
  open(now: number): boolean {
    const cancel = this.#call.cancelSignal;
    if (cancel !== undefined) {
      if (cancel.aborted) {
        this.#settle();
        this.#reject(new Fault('cancelled', 'The caller cancelled before the call began.', { origin: 'unsent' }));
        return false;
      }
      this.#onCancel = () => {
        if (this.#settle()) this.#reject(cancelledFault(cancel));
      };
      cancel.addEventListener('abort', this.#onCancel, { once: true });
    }
    deadlines.add(this, this.#call.deadline, now);
    return true;
  }

  expire(): void {
    if (this.#settle()) this.#reject(deadlineFault());
  }

  succeed(value: unknown): void {
    if (this.#settle()) this.#resolve(value);
  }

  fail(thrown: unknown): void {
    const fault = this.#operation.faultOf(thrown, this.#call);
    if (this.#settle()) this.#reject(fault);
  }

  #settle(): boolean {
    if (!this.#open) return false;
    this.#open = false;
    deadlines.remove(this);
    if (this.#onCancel !== undefined) this.#call.cancelSignal?.removeEventListener('abort', this.#onCancel);
    return true;
  }
}

