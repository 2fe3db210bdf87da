import type { Dispatcher as Undici } from 'undici';
import type { Fault } from '../../../src/kernel/fault.ts';
import { AbortableExchange } from './abortable-exchange.ts';
import { answerOfLine } from './batch.ts';
import { brokenFault, refusalFault, unreadableFault } from './client-faults.ts';
import { MAX_BODY_BYTES } from './limits.ts';
import type { Outgoing } from './outgoing.ts';

const LINE_END = 0x0a;

/** Several calls in one request, each settled when its line of the answer comes. */
export class BatchExchange extends AbortableExchange implements Undici.DispatchHandler {
  readonly #peer: string;
  readonly #calls: readonly Outgoing[];
  readonly #onEnd: (fault: Fault | undefined) => void;
  /** The beginning of a line whose end has not come; of a refusal, all of it. */
  #rest: Buffer[] = [];
  #restBytes = 0;

  /** `onEnd` is called once, when the connection is free again or lost, with what became of those that had no answer. */
  constructor(peer: string, calls: readonly Outgoing[], onEnd: (fault: Fault | undefined) => void) {
    super();
    this.#peer = peer;
    this.#calls = calls;
    this.#onEnd = onEnd;
  }

  onResponseData(controller: Undici.DispatchController, chunk: Buffer): void {
    const end = this.status === 200 ? chunk.lastIndexOf(LINE_END) : -1;
    if (end >= 0) {
      const lines = chunk.subarray(0, end);
      this.#settle(this.#rest.length === 0 ? lines : Buffer.concat([...this.#rest, lines]));
      this.#rest = [];
      this.#restBytes = 0;
    }
    if (end + 1 === chunk.length) return;
    this.#rest.push(chunk.subarray(end + 1));
    this.#restBytes += chunk.length - end - 1;
    if (this.#restBytes > MAX_BODY_BYTES) controller.abort(new Error('The answer is too large.'));
  }

  onResponseEnd(): void {
    const rest = Buffer.concat(this.#rest);
    if (this.status !== 200) return this.#end(refusalFault(this.#peer, this.status, rest));
    this.#settle(rest);
    this.#end(unreadableFault(this.#peer));
  }

  onResponseError(_: Undici.DispatchController, error: Error): void {
    this.#end(brokenFault(this.#peer, this.begun, error));
  }

  #settle(lines: Buffer): void {
    for (const line of lines.toString('utf8').split('\n')) {
      const found = answerOfLine(line);
      if (found) this.#calls[found.n]?.answer(found.answer);
    }
  }

  #end(fault: Fault): void {
    const unanswered = this.#calls.filter(({ settled }) => !settled);
    for (const call of unanswered) call.fail(fault);
    this.#onEnd(unanswered.length > 0 ? fault : undefined);
  }
}
