import type { RemoteCall, Reply } from '../../../src/ports/transport.ts';

/** A call that waits for room. Its request is kept as text: the value may change meanwhile. */
export class Waiting {
  readonly call: RemoteCall;
  readonly text: string;
  readonly reply: Reply;
  /** Once it was sent, as SentCalls has it; `order` is 0 while it waits. */
  number = 0;
  order = 0;

  constructor(call: RemoteCall, text: string, reply: Reply) {
    this.call = call;
    this.text = text;
    this.reply = reply;
  }
}

/** Calls that wait for room in a connection's window: so many and so long, in order. */
export class WaitingRoom {
  readonly #mostCalls: number;
  readonly #mostBytes: number;
  readonly #waiting = new Set<Waiting>();
  #bytes = 0;

  constructor(mostCalls: number, mostBytes: number) {
    this.#mostCalls = mostCalls;
    this.#mostBytes = mostBytes;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** False when there is no room. */
  enter(waiting: Waiting): boolean {
    const bytes = this.#bytes + waiting.text.length;
    if (this.#waiting.size >= this.#mostCalls || bytes > this.#mostBytes) return false;
    this.#waiting.add(waiting);
    this.#bytes = bytes;
    return true;
  }

  leave(waiting: Waiting): void {
    if (this.#waiting.delete(waiting)) this.#bytes -= waiting.text.length;
  }

  /** Takes out who has waited longest. */
  next(): Waiting | undefined {
    const [first] = this.#waiting;
    if (first !== undefined) this.leave(first);
    return first;
  }

  /** Takes out everybody. */
  empty(): readonly Waiting[] {
    const all = [...this.#waiting];
    this.#waiting.clear();
    this.#bytes = 0;
    return all;
  }
}
