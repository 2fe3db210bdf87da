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
  return stubOf(contract, (method, { timeoutMs }) => (request, call) => invoke(target, method, timeoutMs, request, call, log));
}

function invoke(target: Target, method: string, timeoutMs: number, request: unknown, call: Call, log: Log): Promise<unknown> {
  const now = Date.now();
  const deadline = Math.min(call.deadline, now + timeoutMs);
  if (deadline <= now) return Promise.reject(new Fault('deadline', 'The deadline had passed before the call began.', { origin: 'unsent' }));
  const { implementation } = target;
  if (implementation === undefined) return Promise.reject(target.notRunning());
  const inner = deadline < call.deadline ? call.with({ deadline }) : call;
  return new Promise((resolve, reject) => {
    const pending = new Pending(target.contract.name, method, inner, resolve, reject, log);
    let answer: Promise<unknown>;
    try {
      if (!pending.open(now)) return;
      answer = implementation[method]!(request, inner);
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

/** A call under way: settles once, by its answer, its deadline or its caller, whichever comes first. */
class Pending implements Deadline {
  slot = 0;
  index = -1;
  #open = true;
  readonly #contract: string;
  readonly #method: string;
  readonly #call: Call;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (fault: Fault) => void;
  readonly #log: Log;
  #onCancel: (() => void) | undefined;

  constructor(contract: string, method: string, call: Call, resolve: (value: unknown) => void, reject: (fault: Fault) => void, log: Log) {
    this.#contract = contract;
    this.#method = method;
    this.#call = call;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#log = log;
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
    const fault = faultOf(thrown, `${this.#contract}.${this.#method}`, this.#call, this.#log);
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

