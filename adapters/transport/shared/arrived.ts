import type { Actor, Trace } from '../../../src/kernel/call.ts';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { ArrivedCall, RemoteCall } from '../../../src/ports/transport.ts';

/** A call as a transport has taken it in. Its signal is made when somebody asks for it; most calls end without. */
export class Arrived implements ArrivedCall {
  readonly contract: string;
  readonly method: string;
  readonly request: unknown;
  readonly id: string;
  readonly workspace: string | null;
  readonly actor: Actor;
  readonly trace: Trace;
  readonly idempotencyKey: string | undefined;
  readonly deadline: EpochMs;
  #controller: AbortController | undefined;
  #isCancelled = false;

  constructor(call: RemoteCall) {
    this.contract = call.contract;
    this.method = call.method;
    this.request = call.request;
    this.id = call.id;
    this.workspace = call.workspace;
    this.actor = call.actor;
    this.trace = call.trace;
    this.idempotencyKey = call.idempotencyKey;
    this.deadline = call.deadline;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isCancelled) this.#abort();
    }
    return this.#controller.signal;
  }

  /** The caller has let go, or nobody is left to take the answer. Twice, and after the answer, changes nothing. */
  cancel(): void {
    this.#isCancelled = true;
    this.#abort();
  }

  #abort(): void {
    this.#controller?.abort(new Fault('cancelled', 'The caller cancelled the call, or is gone.', { origin: 'lost' }));
  }
}
