import { Fault } from '../../../src/kernel/fault.ts';
import type { Answer, RemoteCall, Reply } from '../../../src/ports/transport.ts';

/** A call on its way, until it is settled: answered, failed, or let go by its caller. */
export class Outgoing {
  readonly call: RemoteCall;
  /** The request as JSON. */
  readonly text: string;
  readonly #reply: Reply;
  readonly #onSettled: (outgoing: Outgoing) => void;
  #settled = false;
  /** What lets go of it where it is now: in the queue, or in an exchange. */
  letGo: () => void = () => {};

  constructor(call: RemoteCall, text: string, reply: Reply, onSettled: (outgoing: Outgoing) => void) {
    this.call = call;
    this.text = text;
    this.#reply = reply;
    this.#onSettled = onSettled;
  }

  get settled(): boolean {
    return this.#settled;
  }

  answer(answer: Answer): void {
    if ('fault' in answer) this.fail(Fault.fromRecord(answer.fault));
    else if (this.#settle()) this.#reply.succeed(answer.value);
  }

  fail(fault: Fault): void {
    if (this.#settle()) this.#reply.fail(fault);
  }

  cancel(): void {
    if (this.#settle()) this.letGo();
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#onSettled(this);
    return true;
  }
}
