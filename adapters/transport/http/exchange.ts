import type { Dispatcher as Undici } from 'undici';
import { MAX_BODY_BYTES } from './limits.ts';

/** How one request ended. `begun`: bytes of it may have left. */
export type Outcome = { readonly status: number; readonly body: Buffer } | { readonly error: Error; readonly begun: boolean };

/** One request and its whole answer. */
export class Exchange implements Undici.DispatchHandler {
  readonly #done: (outcome: Outcome) => void;
  #controller: Undici.DispatchController | undefined;
  #aborted = false;
  #status = 0;
  #first: Buffer | undefined;
  #more: Buffer[] | undefined;
  #bytes = 0;

  /** `done` is called once, also after `abort`. */
  constructor(done: (outcome: Outcome) => void) {
    this.#done = done;
  }

  /** Takes the request back, or ends its connection. */
  abort(): void {
    this.#aborted = true;
    this.#controller?.abort(new Error('let go'));
  }

  onRequestStart(controller: Undici.DispatchController): void {
    if (this.#aborted) return controller.abort(new Error('let go'));
    this.#controller = controller;
  }

  onResponseStart(_: Undici.DispatchController, status: number): void {
    this.#status = status;
  }

  onResponseData(controller: Undici.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > MAX_BODY_BYTES) return controller.abort(new Error('The answer is too large.'));
    if (this.#first === undefined) this.#first = chunk;
    else (this.#more ??= [this.#first]).push(chunk);
  }

  onResponseEnd(): void {
    this.#done({ status: this.#status, body: this.#more === undefined ? (this.#first ?? Buffer.alloc(0)) : Buffer.concat(this.#more, this.#bytes) });
  }

  onResponseError(_: Undici.DispatchController, error: Error): void {
    this.#done({ error, begun: this.#controller !== undefined });
  }
}
