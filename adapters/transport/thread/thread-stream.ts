import { Duplex } from 'node:stream';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { MemoryStream } from '../shared/memory-stream.ts';
import { newRing, RingReader, RingWriter } from './byte-ring.ts';

/** What one end is made of. It crosses to its thread in a message, with the port among what is transferred. */
export interface StreamEnd {
  readonly port: MessagePort;
  readonly inbound: SharedArrayBuffer;
  readonly outbound: SharedArrayBuffer;
}

/** Both ends of a new stream. */
export function newStreamEnds(): [StreamEnd, StreamEnd] {
  const { port1, port2 } = new MessageChannel();
  const [there, back] = [newRing(), newRing()];
  return [
    { port: port1, inbound: back, outbound: there },
    { port: port2, inbound: there, outbound: back },
  ];
}

/** Taken before a writer is told to wait. */
const HIGH_WATER_BYTES = 4 * 1024 * 1024;
/** Read in one turn of the event loop; the next piece may overshoot. */
const TURN_BYTES = 64 * 1024;

type Done = (error?: Error | null) => void;

/**
 * A stream of bytes between two threads, so that what is spoken between hosts can be spoken there: a ring each way, and
 * a port as the bell, which is rung only for an end that sleeps. One that has read for a turn looks again in the next,
 * and sleeps once there is nothing more. What listens for `data` reads in place: a chunk is valid until the
 * listener returns. Whoever reads otherwise gets copies.
 *
 * The port belongs to the stream: it is closed with it. When the other thread ends, however it ends, the stream ends
 * once all that was written is read.
 */
export class ThreadStream extends Duplex implements MemoryStream {
  writtenAt: EpochMs = Date.now();
  readonly #port: MessagePort;
  readonly #in: RingReader;
  readonly #out: RingWriter;
  /** When those were written that `_write` has not seen yet. */
  readonly #dates: EpochMs[] = [];
  /** Is tried again when there is room; the last of `#send`, if it did not fit. */
  #resend: (() => void) | undefined;
  #turn: NodeJS.Immediate | undefined;
  /** Whoever reads copies has enough of them for now. */
  #isFull = false;
  #isGone = false;

  constructor({ port, inbound, outbound }: StreamEnd) {
    super({ allowHalfOpen: false, readableHighWaterMark: HIGH_WATER_BYTES, writableHighWaterMark: HIGH_WATER_BYTES });
    this.#port = port;
    this.#in = new RingReader(inbound);
    this.#out = new RingWriter(outbound);
    port.on('message', () => this.#wake());
    port.once('close', () => {
      this.#isGone = true;
      this.#wake();
    });
    // The other end may have written before this one was there to be woken.
    this.#lookSoon();
  }

  override write(chunk: unknown, encoding?: BufferEncoding | Done, done?: Done): boolean {
    this.#dates.push(Date.now());
    return typeof encoding === 'function' ? super.write(chunk, encoding) : super.write(chunk, encoding ?? 'utf8', done);
  }

  override _read(): void {
    if (!this.#isFull) return;
    this.#isFull = false;
    this.#lookSoon();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: Done): void {
    // What `end` writes has no date.
    this.#send(chunk, this.#dates.shift() ?? Date.now(), done);
  }

  override _final(done: Done): void {
    this.#out.end();
    this.#ringIf(this.#out.wakesReader());
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    clearImmediate(this.#turn);
    this.#port.close();
    done(error);
  }

  #send(chunk: Uint8Array, writtenAt: EpochMs, done: Done): void {
    this.#resend = undefined;
    let left = chunk;
    // Nobody reads what is written to a thread that is gone; the stream ends, which says so.
    while (!this.#isGone) {
      const taken = this.#out.write(left, writtenAt);
      this.#ringIf(this.#out.wakesReader());
      if (taken === left.length) break;
      left = left.subarray(taken);
      if (!this.#out.awaitRoom()) continue;
      this.#resend = () => this.#send(left, writtenAt, done);
      return;
    }
    done();
  }

  #ringIf(isAwaited: boolean): void {
    if (isAwaited) this.#port.postMessage(null);
  }

  #wake(): void {
    if (this.#turn === undefined) this.#look();
  }

  #lookSoon(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#look();
    });
  }

  #look(): void {
    if (this.destroyed) return;
    this.#resend?.();
    this.#receive();
    if (this.destroyed || this.#isFull) return;
    if (this.#in.isAtEnd) return void this.push(null);
    // Without a turn in between: a bell that is rung while this end is busy costs less than a look in vain after each call.
    if (!this.#in.sleep()) this.#lookSoon();
    else if (this.#isGone) this.push(null);
  }

  #receive(): void {
    let bytes = 0;
    while (bytes < TURN_BYTES && !this.destroyed && !this.#isFull) {
      const piece = this.#in.next();
      if (piece === undefined) break;
      this.writtenAt = this.#in.writtenAt;
      if (piece.length > 0) this.#deliver(piece);
      this.#in.release();
      bytes += piece.length + 1;
    }
    if (bytes > 0) this.#ringIf(this.#in.wakesWriter());
  }

  #deliver(piece: Buffer): void {
    if (this.readableFlowing && this.readableLength === 0) this.emit('data', piece);
    else this.#isFull = !this.push(Buffer.from(piece));
  }
}
