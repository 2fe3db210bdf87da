import { Duplex } from 'node:stream';
import type { MessagePort } from 'node:worker_threads';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { DatedStream } from '../shared/dated-stream.ts';

/** Taken before a writer is told to wait; the other thread's queue has no end of its own. */
const HIGH_WATER_BYTES = 4 * 1024 * 1024;

/** What was written together, and when; null is the end. */
type Parcel = { readonly writtenAt: EpochMs; readonly chunks: readonly ArrayBuffer[] } | null;

/**
 * A MessagePort as a stream of bytes, so that what is spoken between hosts can be spoken between threads. What is
 * written together crosses in one message. Each chunk is copied once, into memory that then changes hands: a message
 * that holds part of a larger buffer would take all of it along.
 *
 * The port belongs to the stream: it is closed with it. When the other thread ends, however it ends, the stream ends.
 */
export class PortStream extends Duplex implements DatedStream {
  /** A thread that was busy reads late. */
  writtenAt: EpochMs = Date.now();
  readonly #port: MessagePort;

  constructor(port: MessagePort) {
    super({ allowHalfOpen: false, readableHighWaterMark: HIGH_WATER_BYTES, writableHighWaterMark: HIGH_WATER_BYTES });
    this.#port = port;
    port.on('message', (parcel: Parcel) => this.#receive(parcel));
    port.on('messageerror', (error) => this.destroy(error as Error));
    port.once('close', () => this.push(null));
  }

  override _read(): void {
    // Whoever listens reads all that comes; what is under way at once is bounded by those who speak.
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.#send([copyOf(chunk)]);
    done();
  }

  override _writev(chunks: readonly { readonly chunk: Uint8Array }[], done: () => void): void {
    this.#send(chunks.map(({ chunk }) => copyOf(chunk)));
    done();
  }

  override _final(done: () => void): void {
    this.#port.postMessage(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#port.close();
    done(error);
  }

  #send(chunks: readonly ArrayBuffer[]): void {
    this.#port.postMessage({ writtenAt: Date.now(), chunks } satisfies Parcel, chunks);
  }

  #receive(parcel: Parcel): void {
    if (this.destroyed || this.readableEnded) return;
    if (parcel === null) return void this.push(null);
    this.writtenAt = parcel.writtenAt;
    for (const chunk of parcel.chunks) this.push(Buffer.from(chunk));
  }
}

function copyOf(chunk: Uint8Array): ArrayBuffer {
  const copy = new ArrayBuffer(chunk.length);
  new Uint8Array(copy).set(chunk);
  return copy;
}
