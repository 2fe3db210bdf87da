import type { Dispatcher as Undici } from 'undici';

/** One request on a connection, from handing it over to the end of its answer: it may be taken back at any time. */
export abstract class AbortableExchange {
  #controller: Undici.DispatchController | undefined;
  #isAborted = false;
  /** Of the answer; 0 until it begins. */
  protected status = 0;

  /** Bytes of the request may have left. */
  protected get begun(): boolean {
    return this.#controller !== undefined;
  }

  /** Takes the request back, or ends its connection: the peer lets go of all that it has not answered. */
  abort(): void {
    this.#isAborted = true;
    this.#controller?.abort(new Error('let go'));
  }

  onRequestStart(controller: Undici.DispatchController): void {
    if (this.#isAborted) return controller.abort(new Error('let go'));
    this.#controller = controller;
  }

  onResponseStart(_: Undici.DispatchController, status: number): void {
    this.status = status;
  }
}
