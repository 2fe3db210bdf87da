import { Duplex } from 'node:stream';
import type { MessagePort } from 'node:worker_threads';

/** Taken before a writer is told to wait; the other thread's queue has no end of its own. */
const HIGH_WATER_BYTES = 4 * 1024 * 1024;

/**
 * A MessagePort as a stream of bytes, so that what is spoken between hosts can be spoken between threads. What is
 * written together crosses in one message. Each chunk is copied once, into memory that then changes hands: a message
 * that holds part of a larger buffer would take all of it along.
 *
 * The port belongs to the stream: it is closed with it. When the other thread ends, however it ends, the stream ends.
 */
export class PortStream extends Duplex {
  readonly #port: MessagePort;

  constructor(port: MessagePort) {
    super({ allowHalfOpen: false, readableHighWaterMark: HIGH_WATER_BYTES, writableHighWaterMark: HIGH_WATER_BYTES });
    this.#port = port;
    port.on('message', (message: ArrayBuffer | readonly ArrayBuffer[] | null) => this.#receive(message));
    port.on('messageerror', (error) => this.destroy(error as Error));
    port.once('close', () => this.push(null));
  }

  override _read(): void {
    // Whoever listens reads all that comes; what is under way at once is bounded by those who speak.
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    const copy = copyOf(chunk);
    this.#port.postMessage(copy, [copy]);
    done();
  }

  override _writev(chunks: readonly { readonly chunk: Uint8Array }[], done: () => void): void {
    const copies = chunks.map(({ chunk }) => copyOf(chunk));
    this.#port.postMessage(copies, copies);
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

  #receive(message: ArrayBuffer | readonly ArrayBuffer[] | null): void {
    if (this.destroyed || this.readableEnded) return;
    if (message === null) this.push(null);
    else if (message instanceof ArrayBuffer) this.push(Buffer.from(message));
    else for (const chunk of message) this.push(Buffer.from(chunk));
  }
}

function copyOf(chunk: Uint8Array): ArrayBuffer {
  const copy = new ArrayBuffer(chunk.length);
  new Uint8Array(copy).set(chunk);
  return copy;
}
