import type { Actor, Trace } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { ArrivedCall } from '../../../src/ports/transport.ts';
import { AT, type Message } from './messages.ts';

/** A call as it came in. The signal is made when somebody asks for it; most calls end without. */
export class Arrived implements ArrivedCall {
  readonly contract: string;
  readonly method: string;
  readonly request: unknown;
  readonly id: string;
  readonly workspace: string | null;
  readonly actor: Actor;
  readonly trace: Trace;
  readonly idempotencyKey: string | undefined;
  readonly deadline: number;
  readonly bytes: number;
  #controller: AbortController | undefined;
  #isCancelled = false;

  /** `message` has passed `requireCall`. */
  constructor(message: Message, request: unknown, now: number, bytes: number) {
    this.contract = message[AT.contract] as string;
    this.method = message[AT.method] as string;
    this.request = request;
    this.id = message[AT.id] as string;
    this.workspace = message[AT.workspace] as string | null;
    this.actor = { kind: message[AT.actorKind] as Actor['kind'], id: message[AT.actorId] as string };
    this.trace = { traceId: message[AT.traceId] as string, spanId: message[AT.spanId] as string };
    this.idempotencyKey = (message[AT.key] as string | null) ?? undefined;
    this.deadline = now + (message[AT.leftMs] as number);
    this.bytes = bytes;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isCancelled) this.#abort();
    }
    return this.#controller.signal;
  }

  cancel(): void {
    this.#isCancelled = true;
    this.#abort();
  }

  #abort(): void {
    this.#controller?.abort(new Fault('cancelled', 'The caller cancelled the call, or is gone.', { origin: 'lost' }));
  }
}
