import type { Dispatcher as Undici } from 'undici';
import { AbortableExchange } from './abortable-exchange.ts';
import { MAX_BODY_BYTES } from './limits.ts';

/** How one request ended. `begun`: bytes of it may have left. */
export type Outcome = { readonly status: number; readonly body: Buffer } | { readonly error: Error; readonly begun: boolean };

/** One request and its whole answer. */
export class Exchange extends AbortableExchange implements Undici.DispatchHandler {
  readonly #done: (outcome: Outcome) => void;
  #first: Buffer | undefined;
  #more: Buffer[] | undefined;
  #bytes = 0;

  /** `done` is called once, also after `abort`. */
  constructor(done: (outcome: Outcome) => void) {
    super();
    this.#done = done;
  }

  onResponseData(controller: Undici.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > MAX_BODY_BYTES) return controller.abort(new Error('The answer is too large.'));
    if (this.#first === undefined) this.#first = chunk;
    else (this.#more ??= [this.#first]).push(chunk);
  }

  onResponseEnd(): void {
    this.#done({ status: this.status, body: this.#more === undefined ? (this.#first ?? Buffer.alloc(0)) : Buffer.concat(this.#more, this.#bytes) });
  }

  onResponseError(_: Undici.DispatchController, error: Error): void {
    this.#done({ error, begun: this.begun });
  }
}
