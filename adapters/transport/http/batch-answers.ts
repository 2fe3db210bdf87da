import type { ServerResponse } from 'node:http';
import type { Answer } from '../../../src/ports/transport.ts';
import type { Arrived } from '../shared/arrived.ts';
import { BATCH_ANSWER_TYPE, faultLine, valueLine } from './batch.ts';
import { type AnswerText, answerText } from './answer.ts';

/**
 * The answers to a batch, as one line each in the order in which they come: those of one turn of the event loop in one
 * write, so that a slow call holds back none of the others.
 */
export class BatchAnswers {
  readonly #response: ServerResponse;
  readonly #calls: (Arrived | undefined)[];
  readonly #owe: (answer: AnswerText) => AnswerText;
  #left: number;
  #lines = '';
  #flushing: NodeJS.Immediate | undefined;

  /** `calls` by their place in the batch; `owe` gets each answer, and answers what to say instead of it. */
  constructor(response: ServerResponse, calls: (Arrived | undefined)[], owe: (answer: AnswerText) => AnswerText) {
    this.#response = response;
    this.#calls = calls;
    this.#owe = owe;
    this.#left = calls.length;
    response.setHeader('content-type', BATCH_ANSWER_TYPE);
  }

  answer(n: number, answer: Answer): void {
    this.#calls[n] = undefined;
    const { text, fault } = this.#owe(answerText(answer));
    this.#lines += `${fault === undefined ? valueLine(n, text) : faultLine(n, text)}\n`;
    if (--this.#left === 0) this.#end();
    else this.#flushing ??= setImmediate(() => this.#flush());
  }

  cancel(n: number): void {
    this.#calls[n]?.cancel();
  }

  cancelAll(): void {
    for (const call of this.#calls) call?.cancel();
  }

  #flush(): void {
    this.#flushing = undefined;
    this.#response.write(this.#lines);
    this.#lines = '';
  }

  #end(): void {
    clearImmediate(this.#flushing);
    this.#response.end(this.#lines);
  }
}
