import type { Dispatcher as Undici } from 'undici';

/** One request on a connection, from handing it over to the end of its answer: it may be taken back at any time. */
export abstract class AbortableExchange {
  #controller: Undici.DispatchController | undefined;
  #abortedWith: Error | undefined;
  /** Of the answer; 0 until it begins. */
  protected status = 0;

  /** Bytes of the request may have left. */
  protected get begun(): boolean {
    return this.#controller !== undefined;
  }

  /** Takes the request back, or ends its connection: the peer lets go of all that it has not answered. `why`: what the exchange then fails with. */
  abort(why = 'let go'): void {
    this.#abortedWith = new Error(why);
    this.#controller?.abort(this.#abortedWith);
  }

  onRequestStart(controller: Undici.DispatchController): void {
    if (this.#abortedWith !== undefined) return controller.abort(this.#abortedWith);
    this.#controller = controller;
  }

  onResponseStart(_: Undici.DispatchController, status: number): void {
    this.status = status;
  }
}
