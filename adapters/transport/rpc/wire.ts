import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { isMemoryStream, type MemoryStream } from '../shared/memory-stream.ts';
import { FrameReader } from './frame-reader.ts';
import { handshakeFrame, KIND_HANDSHAKE, PREAMBLE, WireError } from './frames.ts';
import { Incoming } from './incoming.ts';
import { type Message, PING, PONG } from './messages.ts';
import { Outgoing } from './outgoing.ts';
import { PEER_REFUSED } from '../../../src/ports/transport.ts';
import type { RpcSettings } from './settings.ts';

/** What a wire tells the side that it belongs to. None is called after `closed`, which is called once. */
export interface WireEvents {
  /** Before `open`. */
  handshake(content: unknown): void;
  /** After `open`: all but pings. */
  message(message: Message, bytes: number): void;
  /** All that was written is on its way. */
  flushed?(): void;
  /** What waited for the socket to take what was written may go on. */
  roomy(): void;
  closed(problem: string): void;
}

const LAST_WORDS_MS = 500;

/**
 * One connection as frames: first those of the handshake, then messages, written once per tick. Looks after itself: it
 * closes when what arrives is not of this protocol, when the handshake takes too long, and when the other side has
 * fallen silent.
 */
export class Wire {
  /** From `open` on. */
  out!: Outgoing;
  sentBytes = 0;
  receivedBytes = 0;
  readonly #duplex: Duplex;
  readonly #settings: RpcSettings;
  readonly #events: WireEvents;
  readonly #reader: FrameReader;
  readonly #incoming = new Incoming();
  /** What such a socket has taken, the kernel has; other streams may pass on the very same memory. */
  readonly #isCopying: boolean;
  readonly #memory: MemoryStream | undefined;
  #isOpen = false;
  #isClosed = false;
  #handshakes = 0;
  #flushing = false;
  #silent = 0;
  #seenBytes = 0;
  #timer: NodeJS.Timeout;

  constructor(duplex: Duplex, settings: RpcSettings, events: WireEvents, side: 'calls' | 'serves') {
    this.#duplex = duplex;
    this.#memory = isMemoryStream(duplex) ? duplex : undefined;
    this.#isCopying = this.#memory !== undefined || (duplex instanceof Socket && !(duplex instanceof TLSSocket));
    this.#settings = settings;
    this.#events = events;
    this.#reader = new FrameReader(settings.maxHandshakeBytes, side === 'serves', (body) => this.#take(body));
    this.#timer = setTimeout(() => this.close('The other side did not introduce itself in time.'), settings.handshakeMs);
    duplex.on('data', (chunk: Buffer) => this.#receive(chunk));
    duplex.on('drain', () => this.#isOpen && this.#events.roomy());
    // Of a name with several addresses, where none answers, Node tells the code alone.
    duplex.on('error', (error: NodeJS.ErrnoException) => this.close(error.message || error.code || error.name));
    duplex.on('end', () => this.close('The other side closed the connection.'));
    duplex.on('close', () => this.close('The connection was closed.'));
    if (side === 'calls') this.#write(PREAMBLE);
  }

  /** Whether what is written now would pile up. */
  get isCrowded(): boolean {
    return this.#duplex.writableLength + this.out.gathered > this.#settings.highWaterBytes;
  }

  /** When the message that is taken just now was written, as far as the stream knows it; else now. */
  get writtenAt(): number {
    return this.#memory?.writtenAt ?? Date.now();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  shakeHands(content: object): void {
    if (!this.#isClosed) this.#write(handshakeFrame(content, this.#handshakes++));
  }

  /** The handshake is done: messages from now on, in frames of at most so many bytes. */
  open(theirMaxFrameBytes: number): void {
    this.#isOpen = true;
    this.out = new Outgoing(Math.min(theirMaxFrameBytes, this.#settings.maxFrameBytes), this.#handshakes);
    this.#reader.limit = this.#settings.maxFrameBytes;
    clearTimeout(this.#timer);
    this.#timer = setInterval(() => this.#beat(), this.#settings.beatMs);
  }

  /** Sends what `out` has gathered at the end of this tick. */
  flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    process.nextTick(flush, this);
  }

  flush(): void {
    this.#flushing = false;
    if (this.#isClosed) return;
    const wasCrowded = this.isCrowded;
    const frames = this.out.take();
    this.#events.flushed?.();
    if (frames.length === 1) this.#write(frames[0]!);
    else this.#writeAll(frames);
    if (this.#isCopying && this.#duplex.writableLength === 0) this.out.reuse();
    // Else the socket says when.
    if (wasCrowded && !this.isCrowded) this.#events.roomy();
  }

  #writeAll(frames: readonly Buffer[]): void {
    this.#duplex.cork();
    for (const frame of frames) this.#write(frame);
    this.#duplex.uncork();
  }

  close(problem: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#duplex.destroy(this.#end(problem));
    this.#events.closed(problem);
  }

  /** The same, after what was written has left, for which the other side has a moment. */
  closeSoon(problem: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const destroy = (): void => void this.#duplex.destroy(this.#end(problem));
    const timer = setTimeout(destroy, LAST_WORDS_MS);
    this.#duplex.once('close', () => clearTimeout(timer)).end(destroy);
    this.#events.closed(problem);
  }

  #end(problem: string): Error {
    return this.#isOpen ? new Error(problem) : Object.assign(new Error(problem), { code: PEER_REFUSED });
  }

  #write(bytes: Buffer): void {
    this.sentBytes += bytes.length;
    this.#duplex.write(bytes);
  }

  #receive(chunk: Buffer): void {
    if (this.#isClosed) return;
    this.receivedBytes += chunk.length;
    try {
      this.#reader.push(chunk);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.close(error.message);
    }
  }

  #take(body: Buffer): boolean {
    if (this.#isOpen) this.#incoming.read(body, (message, bytes) => this.#dispatch(message, bytes));
    else if (body[0] === KIND_HANDSHAKE) this.#events.handshake(contentOf(body));
    else throw new WireError('It sent messages before it introduced itself.');
    return !this.#isClosed;
  }

  #dispatch(message: Message, bytes: number): void {
    if (this.#isClosed) return;
    if (message[0] === PING) this.#pong();
    else if (message[0] !== PONG) this.#events.message(message, bytes);
  }

  #pong(): void {
    // Who pings and does not read gets no answers piled up.
    if (this.isCrowded) return;
    this.out.plain(PONG);
    this.flushSoon();
  }

  /** Counts looks, not time: after this process itself stood still, one look finds all that arrived meanwhile. */
  #beat(): void {
    if (this.receivedBytes !== this.#seenBytes) {
      this.#seenBytes = this.receivedBytes;
      this.#silent = 0;
      return;
    }
    if (++this.#silent > this.#settings.silentBeats) return this.close('The other side has fallen silent.');
    if (this.isCrowded) return;
    this.out.plain(PING);
    this.flushSoon();
  }
}

function flush(wire: Wire): void {
  wire.flush();
}

function contentOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8', 1));
  } catch {
    throw new WireError('It introduced itself in a text that is not JSON.');
  }
}
