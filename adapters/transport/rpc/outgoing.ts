import type { FaultRecord } from '../../../src/kernel/fault.ts';
import type { RemoteCall } from '../../../src/ports/transport.ts';
import { HEADER_BYTES, KIND_MESSAGES, KIND_MESSAGES_AFRESH, seal } from './frames.ts';
import { jsonTextOf } from './json-text.ts';
import { ANSWER, ANSWER_TEXT, CALL, CALL_TEXT, FAULT } from './messages.ts';
import { ValueWriter } from './value-writer.ts';

const SLAB_BYTES = 64 * 1024;
const LEAST_ROOM = 4 * 1024;
const BODY_AT = HEADER_BYTES + 1;

/** What became of a message: its size in bytes, or why there is none. */
export type Written = number | 'too_large' | 'not_json';

/** Gathers messages into frames: one for all that is written between two calls of `take`, several when they are long. */
export class Outgoing {
  readonly #writer = new ValueWriter(SLAB_BYTES);
  /** A frame that has reached so much is closed, so that none grows long by many short messages. */
  readonly #full: number;
  readonly #most: number;
  #number: number;
  #kind = KIND_MESSAGES;
  #frames: Buffer[] = [];
  #framesBytes = 0;
  #start = -1;

  /** `number` counts the frames of this direction, the handshake's included. */
  constructor(maxFrameBytes: number, number: number) {
    this.#full = Math.min(256 * 1024, maxFrameBytes >>> 2);
    this.#most = maxFrameBytes - this.#full - BODY_AT;
    this.#number = number;
  }

  /** Bytes that `take` would give. */
  get gathered(): number {
    return this.#framesBytes + (this.#start < 0 ? 0 : this.#writer.at - this.#start);
  }

  /** `text` is the request's JSON text when the value itself is not to be had any more. */
  call(number: number, leftMs: number, call: RemoteCall, text?: string): Written {
    const writer = this.#writer;
    const mark = this.#begin();
    if (text === undefined && this.#callHead(CALL, number, leftMs, call) && this.#value(call.request)) return this.#end(mark);
    if (writer.large) return this.#takeBack(mark, 'too_large');
    writer.at = mark;
    const request = text ?? jsonTextOf(call.request);
    if (request === undefined) return this.#takeBack(mark, 'not_json');
    return this.#callHead(CALL_TEXT, number, leftMs, call) && writer.text(request) ? this.#end(mark) : this.#takeBack(mark, writer.large ? 'too_large' : 'not_json');
  }

  answer(number: number, value: unknown): Written {
    const writer = this.#writer;
    const mark = this.#begin();
    this.#head(ANSWER, number, 3);
    if (this.#value(value)) return this.#end(mark);
    if (writer.large) return this.#takeBack(mark, 'too_large');
    writer.at = mark;
    const text = jsonTextOf(value);
    if (text === undefined) return this.#takeBack(mark, 'not_json');
    return this.answerText(number, text);
  }

  answerText(number: number, text: string): Written {
    const mark = this.#begin();
    this.#head(ANSWER_TEXT, number, 3);
    return this.#writer.text(text) ? this.#end(mark) : this.#takeBack(mark, 'too_large');
  }

  fault(number: number, { code, reason, message, origin, details, spent = false }: FaultRecord): Written {
    const writer = this.#writer;
    const text = jsonTextOf(details);
    if (text === undefined) return 'not_json';
    const mark = this.#begin();
    this.#head(FAULT, number, spent ? 8 : 7);
    const fits = writer.text(code) && writer.text(reason.toWellFormed()) && writer.text(message.toWellFormed()) && writer.text(origin) && writer.text(text);
    if (spent) writer.whole(1);
    return fits ? this.#end(mark) : this.#takeBack(mark, 'too_large');
  }

  /** A message of whole numbers only. */
  plain(type: number, ...numbers: readonly number[]): void {
    const mark = this.#begin();
    this.#writer.array(1 + numbers.length);
    this.#writer.whole(type);
    for (const number of numbers) this.#writer.whole(number);
    this.#end(mark);
  }

  /** The frames of all that was written, in order; empty when nothing was. */
  take(): readonly Buffer[] {
    this.#close();
    if (this.#writer.isStale) {
      this.#writer.forgetRecords();
      this.#kind = KIND_MESSAGES_AFRESH;
    }
    const frames = this.#frames;
    if (frames.length > 0) {
      this.#frames = [];
      this.#framesBytes = 0;
    }
    return frames;
  }

  /** The frames that were taken have left the process: their memory may be written again. */
  reuse(): void {
    if (this.#start < 0) this.#writer.at = 0;
  }

  #callHead(type: number, number: number, leftMs: number, call: RemoteCall): boolean {
    const writer = this.#writer;
    this.#head(type, number, 13);
    writer.whole(leftMs);
    return (
      writer.text(call.contract) &&
      writer.text(call.method) &&
      writer.text(call.id) &&
      this.#textOrNil(call.workspace) &&
      writer.text(call.actor.kind) &&
      writer.text(call.actor.id) &&
      writer.text(call.trace.traceId) &&
      writer.text(call.trace.spanId) &&
      this.#textOrNil(call.idempotencyKey)
    );
  }

  #value(value: unknown): boolean {
    try {
      return this.#writer.value(value);
    } catch {
      // A getter, or a proxy, of the caller's.
      return false;
    }
  }

  #textOrNil(text: string | null | undefined): boolean {
    if (text !== null && text !== undefined) return this.#writer.text(text);
    this.#writer.nil();
    return true;
  }

  #head(type: number, number: number, length: number): void {
    this.#writer.array(length);
    this.#writer.whole(type);
    this.#writer.whole(number);
  }

  #begin(): number {
    const writer = this.#writer;
    if (this.#start < 0) {
      if (writer.bytes.length - writer.at < LEAST_ROOM || writer.bytes.length > SLAB_BYTES) writer.turnTo(Buffer.allocUnsafeSlow(SLAB_BYTES));
      this.#start = writer.at;
      writer.at += BODY_AT;
    }
    writer.large = false;
    writer.end = writer.at + this.#most;
    return writer.at;
  }

  #end(mark: number): Written {
    const writer = this.#writer;
    const size = writer.at - mark;
    if (size > this.#most) return this.#takeBack(mark, 'too_large');
    if (writer.at - this.#start > this.#full) this.#close();
    return size;
  }

  #takeBack<Why>(mark: number, why: Why): Why {
    this.#writer.at = mark;
    return why;
  }

  #close(): void {
    if (this.#start < 0) return;
    const writer = this.#writer;
    this.#define();
    const frame = writer.bytes.subarray(this.#start, writer.at);
    if (frame.length > BODY_AT) this.#seal(frame);
    else writer.at = this.#start;
    this.#start = -1;
  }

  /** Each in a frame of its own, ahead of what uses it. */
  #define(): void {
    for (const shape of this.#writer.takeDefinitions()) {
      const writer = new ValueWriter(1024);
      writer.at = BODY_AT;
      writer.definition(shape);
      this.#seal(writer.bytes.subarray(0, writer.at));
    }
  }

  #seal(frame: Buffer): void {
    frame[HEADER_BYTES] = this.#kind;
    this.#kind = KIND_MESSAGES;
    seal(frame, this.#number++);
    this.#frames.push(frame);
    this.#framesBytes += frame.length;
  }
}
