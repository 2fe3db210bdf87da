import type { Reply } from '../../../src/ports/transport.ts';
import { WireError } from './frames.ts';

class Slot {
  reply: Reply | undefined;
  isTaken = false;
  bytes = 0;
  /** Counts all calls of the connection. */
  order = 0;
}

/**
 * The calls of a connection that are not answered yet. Each has a number below the window's size, free for another
 * once it is answered: cancelled or not, it keeps its place until then. Slots instead of a map: V8's maps leave chains
 * of old tables behind, which kept every answer alive until the next full collection, for a quarter of all CPU time.
 */
export class SentCalls {
  readonly #slots: Slot[] = [];
  readonly #free: number[] = [];
  #order = 0;
  #size = 0;
  #bytes = 0;

  get size(): number {
    return this.#size;
  }

  /** Of their requests. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many there were so far. */
  get order(): number {
    return this.#order;
  }

  /** The number that the next call gets. */
  get next(): number {
    return this.#free.at(-1) ?? this.#slots.length;
  }

  /** Notes that the call with the number `next` was written. */
  add(reply: Reply, bytes: number): void {
    const number = this.#free.pop() ?? this.#slots.push(new Slot()) - 1;
    const slot = this.#slots[number]!;
    slot.reply = reply;
    slot.isTaken = true;
    slot.bytes = bytes;
    slot.order = ++this.#order;
    this.#size++;
    this.#bytes += bytes;
  }

  /** The call was answered; answers whom to tell, nobody when it was cancelled. */
  settle(number: number): Reply | undefined {
    const slot = this.#slots[number];
    if (slot?.isTaken !== true) throw new WireError('It answered a call that was not made.');
    const { reply } = slot;
    slot.reply = undefined;
    slot.isTaken = false;
    this.#free.push(number);
    this.#size--;
    this.#bytes -= slot.bytes;
    return reply;
  }

  /** False when that call was answered or cancelled before. */
  cancel(number: number, order: number): boolean {
    const slot = this.#slots[number];
    if (slot?.reply === undefined || slot.order !== order) return false;
    slot.reply = undefined;
    return true;
  }

  /** Takes out all, as they were sent. */
  empty(): { readonly reply: Reply | undefined; readonly order: number }[] {
    const all = this.#slots.filter(({ isTaken }) => isTaken).map(({ reply, order }) => ({ reply, order }));
    this.#slots.length = 0;
    this.#free.length = 0;
    this.#size = 0;
    this.#bytes = 0;
    return all.sort((a, b) => a.order - b.order);
  }
}
