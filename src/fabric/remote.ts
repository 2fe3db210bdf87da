import { type Call, cancelledFault, deadlineFault } from '../kernel/call.ts';
import type { EpochMs } from '../kernel/clock.ts';
import type { Contract, Descriptor } from '../kernel/contract.ts';
import { type Deadline, deadlines } from '../kernel/deadline.ts';
import { Fault, type FaultCode, mayRetry } from '../kernel/fault.ts';
import { NOT_CONNECTED, type RemoteCall, type Reply, STOPPING } from '../ports/transport.ts';
import type { Edge } from './edge.ts';
import type { CallOutcome, Replica } from './replica.ts';
import type { Replicas } from './replicas.ts';
import { ASK_AGAIN_MS } from './starting.ts';
import { NOT_RUNNING, stubOf } from './target.ts';

/** Tries of one call, the first included. */
const MOST_TRIES = 3;
const FIRST_WAIT_MS = 20;
/** Operations that may take longer do so on purpose: how soon they answer says nothing of the callee. */
const LONG_MS = 10_000;

/**
 * Calls that leave the process: to the least busy process of the callee's host, again or elsewhere when that is safe,
 * and never beyond the caller's deadline. A callee that was there a moment ago is waited for within the operation's
 * `timeoutMs`. One that stopped in order, or says that its module has not started, is being started again: it is waited
 * for until the caller's deadline, and `timeoutMs` begins when the call is sent. One that has been away longer is not
 * waited for.
 */
export function bindRemote<T>(contract: Contract<T>, replicas: Replicas, edge: Edge): T {
  return bind(contract, replicas, edge, ({ timeoutMs }) => timeoutMs);
}

/** The same where the other side only passes calls on, with a stub that has `timeoutMs` begin when there is somebody to call. */
export function bindRelayed<T>(contract: Contract<T>, replicas: Replicas, edge: Edge): T {
  return bind(contract, replicas, edge, () => Infinity);
}

function bind<T>(contract: Contract<T>, replicas: Replicas, edge: Edge, limitOf: (descriptor: Descriptor) => number): T {
  return stubOf(contract, (method, descriptor) => {
    const limitMs = limitOf(descriptor);
    return (request, call) => {
      const now = Date.now();
      const deadline = Math.min(call.deadline, now + limitMs);
      if (deadline <= now) return Promise.reject(new Fault('deadline', 'The deadline had passed before the call began.', { origin: 'unsent' }));
      return new Promise((resolve, reject) => new CallUnderWay(contract.name, method, descriptor, request, call, limitMs, deadline, replicas, edge, resolve, reject).begin());
    };
  });
}

/** A call from its first try to its end: answered, failed for good, past its deadline or cancelled, whichever comes first. */
class CallUnderWay implements Deadline, Reply {
  slot = 0;
  index = -1;
  #record: RemoteCall;
  readonly #call: Call;
  readonly #replicas: Replicas;
  readonly #edge: Edge;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (fault: Fault) => void;
  readonly #isRepeatable: boolean;
  /** What it may take once it is sent. */
  readonly #limitMs: number;
  /** Waits on purpose, e.g. for messages. */
  readonly #isLong: boolean;
  readonly #startedAt = performance.now();
  #open = true;
  #tries = 0;
  /** A try may have had its effect. */
  #mayHaveRun = false;
  #replica: Replica | undefined;
  #era = 0;
  #failedAt: Set<Replica> | undefined;
  /** Takes back whatever is waited for: an answer, a pause, a change of the replicas. */
  #takeBack: (() => void) | undefined;
  #onCancel: (() => void) | undefined;

  constructor(contract: string, method: string, { kind, timeoutMs }: Descriptor, request: unknown, call: Call, limitMs: number, deadline: number, replicas: Replicas, edge: Edge, resolve: (value: unknown) => void, reject: (fault: Fault) => void) {
    const { id, workspace, actor, trace, idempotencyKey } = call;
    this.#record = { contract, method, request, id, workspace, actor, trace, idempotencyKey, deadline };
    this.#call = call;
    this.#limitMs = limitMs;
    this.#replicas = replicas;
    this.#edge = edge;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#isLong = timeoutMs > LONG_MS;
    this.#isRepeatable = kind === 'query' || idempotencyKey !== undefined;
  }

  begin(): void {
    const cancel = this.#call.cancelSignal;
    if (cancel?.aborted) {
      this.#open = false;
      return this.#reject(new Fault('cancelled', 'The caller cancelled before the call began.', { origin: 'unsent' }));
    }
    if (cancel !== undefined) {
      this.#onCancel = () => this.#giveUp(cancelledFault(cancel));
      cancel.addEventListener('abort', this.#onCancel, { once: true });
    }
    this.#edge.began();
    deadlines.add(this, this.#record.deadline);
    this.#try();
  }

  succeed(value: unknown): void {
    this.#left('answered');
    if (this.#settle()) this.#resolve(value);
  }

  fail(fault: Fault): void {
    const replica = this.#replica;
    this.#left(outcomeOf(fault));
    if (!this.#open) return;
    if (isAway(fault)) return this.#awaitReturn(fault, replica);
    if (fault.origin !== 'unsent') this.#mayHaveRun = true;
    if (!isWorthAnother(fault) || !mayRetry(fault, this.#isRepeatable) || this.#tries >= MOST_TRIES) return this.#end(fault);
    if (replica !== undefined) (this.#failedAt ??= new Set()).add(replica);
    this.#edge.retried();
    this.#again(fault);
  }

  expire(): void {
    // What waits to be sent may have begun to before it was known that the callee left in order.
    const returnMs = this.#replica === undefined ? this.#replicas.patience.returnMs : 0;
    const until = Math.min(this.#call.deadline, Date.now() + returnMs);
    if (until > Date.now()) return deadlines.add(this, until);
    this.#giveUp(deadlineFault());
  }

  #try(): void {
    const chosen = this.#replicas.choose(this.#record.contract, this.#failedAt);
    if (Fault.is(chosen)) return this.#wait(chosen);
    this.#tries++;
    this.#replica = chosen;
    this.#era = chosen.begin(this.#record.contract, this.#isLong);
    this.#takeBack = undefined;
    const cancel = chosen.link.send(this.#record, this);
    // It may have failed within the call above, and the next try have begun.
    if (this.#open && this.#replica === chosen) this.#takeBack ??= cancel;
  }

  /** Elsewhere at once; where there is nobody else, after a pause that grows and that chance spreads. */
  #again(fault: Fault): void {
    const elsewhere = this.#replicas.choose(this.#record.contract, this.#failedAt);
    if (!Fault.is(elsewhere)) return this.#try();
    this.#failedAt = undefined;
    const pauseMs = FIRST_WAIT_MS * 2 ** (this.#tries - 1) * (0.5 + Math.random());
    if (Date.now() + pauseMs >= this.#record.deadline) return this.#end(fault);
    const timer = setTimeout(() => this.#try(), pauseMs);
    this.#takeBack = () => clearTimeout(timer);
  }

  /** Elsewhere at once; where there is nobody else, again when it is back and has started, without this counting as a try. */
  #awaitReturn(fault: Fault, replica: Replica | undefined): void {
    this.#tries--;
    if (replica !== undefined) (this.#failedAt ??= new Set()).add(replica);
    if (!Fault.is(this.#replicas.choose(this.#record.contract, this.#failedAt))) return this.#try();
    this.#failedAt = undefined;
    const none = this.#replicas.choose(this.#record.contract);
    if (Fault.is(none)) return this.#wait(none);
    const isReturning = fault.reason !== NOT_CONNECTED;
    const hopeMs = this.#replicas.patience.hopeMs(this.#record.contract);
    // That it does not run says more than that time is up.
    const waitMs = isReturning ? Math.min(hopeMs, this.#call.deadline - Date.now() - ASK_AGAIN_MS) : hopeMs;
    if (waitMs < ASK_AGAIN_MS) return this.#end(fault);
    if (isReturning) this.#endBy(this.#call.deadline);
    const forget = this.#replicas.patience.onceStarted(this.#record.contract, () => {
      clearTimeout(timer);
      this.#resume(isReturning);
    });
    const timer = setTimeout(() => {
      forget();
      this.#end(fault);
    }, waitMs);
    this.#takeBack = () => {
      clearTimeout(timer);
      forget();
    };
  }

  /** Nobody can be called now. */
  #wait(fault: Fault): void {
    if (!this.#replicas.patience.mayWait || fault.reason !== NOT_CONNECTED) return this.#end(fault);
    this.#failedAt = undefined;
    const resume = () => this.#resume(false);
    // Those who wait on purpose for what the callee has to say hold up nobody behind them.
    this.#takeBack = this.#isLong ? this.#replicas.patience.onceChanged(resume) : this.#replicas.patience.onceStarted(this.#record.contract, resume);
  }

  /** Waiting for a callee that is being started again does not count against what the operation may take. */
  #resume(isReturning: boolean): void {
    if (isReturning || this.#replicas.patience.returnMs > 0) {
      const deadline = Math.min(this.#call.deadline, Date.now() + this.#limitMs);
      this.#record = { ...this.#record, deadline };
      this.#endBy(deadline);
    }
    this.#try();
  }

  #endBy(deadline: EpochMs): void {
    deadlines.remove(this);
    deadlines.add(this, deadline);
  }

  #giveUp(fault: Fault): void {
    const isOwnLimit = fault.code === 'deadline' && this.#record.deadline < this.#call.deadline;
    const isUnderWay = this.#replica !== undefined;
    this.#takeBack?.();
    this.#left(isOwnLimit ? 'failed' : 'left');
    this.#end(isUnderWay || this.#mayHaveRun ? fault : fault.with({ origin: 'unsent' }));
  }

  #left(outcome: CallOutcome): void {
    this.#replica?.end(outcome, this.#record.contract, this.#era);
    this.#replica = undefined;
    this.#takeBack = undefined;
    if (outcome === 'answered') this.#replicas.patience.answered(this.#record.contract);
  }

  /** That the last try did not leave says nothing of the tries before it. */
  #end(fault: Fault): void {
    if (!this.#settle(fault.code)) return;
    const origin = fault.origin === 'unsent' && this.#mayHaveRun ? 'lost' : fault.origin;
    this.#reject(mayRetry(fault, true) ? fault.with({ origin, spent: true }) : fault);
  }

  #settle(failure?: FaultCode): boolean {
    if (!this.#open) return false;
    this.#open = false;
    deadlines.remove(this);
    if (this.#onCancel !== undefined) this.#call.cancelSignal?.removeEventListener('abort', this.#onCancel);
    this.#edge.ended(this.#isLong ? null : performance.now() - this.#startedAt, failure);
    return true;
  }
}

/** Nobody takes the call now: the process is not ready yet, or not any more, or its link is about to notice that it has gone. */
const AWAY = new Set([NOT_RUNNING, STOPPING, NOT_CONNECTED]);
/** Says nothing against a process. */
const IN_PASSING = new Set([...AWAY, 'stopped']);

/** What a fault says of the replica that it came from, or that the call did not get to. */
function outcomeOf({ origin, code, reason, spent }: Fault): CallOutcome {
  // It has passed on what became of a call of its own: it is well, whoever is not.
  if (spent) return 'answered';
  if (code === 'unavailable') return IN_PASSING.has(reason) ? 'left' : 'failed';
  // Unsent: refused on this side, a request that cannot cross or too much under way. What links lose is `unavailable`.
  return origin === 'unsent' ? 'left' : 'answered';
}

function isAway({ reason, origin }: Fault): boolean {
  return origin === 'unsent' && AWAY.has(reason);
}

/** What the callee tried often enough is not multiplied; a request that cannot cross here cannot cross elsewhere, and a deadline does not come back. */
function isWorthAnother({ origin, code, spent }: Fault): boolean {
  if (spent) return false;
  return origin !== 'unsent' || code === 'unavailable' || code === 'exhausted';
}
