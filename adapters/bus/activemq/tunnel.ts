import { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../../src/kernel/clock.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { Connection, Delivery } from './connection.ts';

/** What one frame carries. */
const CHUNK_BYTES = 256 * 1024;
const PREFETCH = 100;
/** How often the keeper says that it is there, and how long it is believed. */
const BEAT_MS = 1_000;
const BELIEVED_MS = 5_000;

/** A stream through the broker to another process. The broker keeps the order; what it loses ends the stream, since whoever speaks over it misses the answer. */
class Tunnel extends Duplex {
  readonly #connection: Connection;
  readonly #name: string;
  readonly #to: string;
  readonly #answersTo: string | undefined;
  readonly #forget: () => void;

  constructor(connection: Connection, name: string, to: string, answersTo: string | undefined, forget: () => void) {
    super({ allowHalfOpen: false });
    this.#connection = connection;
    this.#name = name;
    this.#to = to;
    this.#answersTo = answersTo;
    this.#forget = forget;
    void connection.lost.then(() => this.destroy());
  }

  arrived({ headers, body }: Delivery): void {
    this.push(headers.end === 'true' ? null : body);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, written: () => void): void {
    for (let at = 0; at < chunk.length; at += CHUNK_BYTES) {
      const body = chunk.subarray(at, at + CHUNK_BYTES);
      this.#send({}, body, at + CHUNK_BYTES >= chunk.length ? written : undefined);
    }
  }

  override _final(ended: () => void): void {
    this.#send({ end: 'true' }, Buffer.alloc(0), ended);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.writableFinished) this.#send({ end: 'true' }, Buffer.alloc(0));
    this.#forget();
    done(error);
  }

  #send(headers: Record<string, string>, body: Buffer, sent?: () => void): void {
    this.#connection.post({ destination: this.#to, headers: { tunnel: this.#name, ...(this.#answersTo === undefined ? {} : { 'reply-to': this.#answersTo }), ...headers }, body, persistent: false }, sent);
  }
}

/** The keeper's end: says that it is there, and takes streams from others. Answers what ends it. */
export function openTunnels(connection: Connection, prefix: string, clock: Clock, accept: (stream: Duplex) => void): () => void {
  const keeper = newId();
  const streams = new Map<string, Tunnel>();
  // Whoever has just come asks.
  const quiet = connection.subscribe(beatsOf(prefix), { prefetch: PREFETCH, auto: true }, ({ headers }) => {
    if (headers.asks === 'true') post();
  });
  const ended = connection.subscribe(`/queue/${prefix}.tunnel.${keeper}`, { prefetch: PREFETCH, auto: true }, (delivery) => {
    const { tunnel: name, 'reply-to': to } = delivery.headers;
    if (name === undefined || to === undefined) return;
    const known = streams.get(name);
    if (known !== undefined) return known.arrived(delivery);
    if (delivery.headers.end === 'true') return;
    const stream = new Tunnel(connection, name, to, undefined, () => streams.delete(name));
    stream.on('error', () => {});
    streams.set(name, stream);
    accept(stream);
    stream.arrived(delivery);
  });
  let beating: Timer | undefined;
  const post = (): void => connection.post({ destination: beatsOf(prefix), headers: { keeper }, body: Buffer.alloc(0), persistent: false });
  const beat = (): void => {
    if (!connection.open) return;
    post();
    beating = clock.after(BEAT_MS, beat);
  };
  beat();
  return () => {
    beating?.cancel();
    quiet();
    ended();
    for (const stream of [...streams.values()]) stream.destroy();
  };
}

/** The other end: knows where the keeper is, by what it was last heard to say. */
export class TunnelFinder {
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #streams = new Map<string, Tunnel>();
  readonly #answers = `/temp-queue/answers-${newId()}`;
  #connection: Connection | undefined;
  #keeper: string | undefined;
  #silence: Timer | undefined;
  /** Called when another keeper than before is heard. */
  onKeeper: (() => void) | undefined;

  constructor(prefix: string, clock: Clock) {
    this.#prefix = prefix;
    this.#clock = clock;
  }

  /** Looks on this connection from now on. */
  listen(connection: Connection): void {
    this.#connection = connection;
    this.#hear(undefined);
    connection.subscribe(this.#answers, { prefetch: PREFETCH, auto: true }, (delivery) => this.#streams.get(delivery.headers.tunnel ?? '')?.arrived(delivery));
    connection.subscribe(beatsOf(this.#prefix), { prefetch: PREFETCH, auto: true }, ({ headers }) => {
      if (headers.keeper !== undefined) this.#hear(headers.keeper);
    });
    connection.post({ destination: beatsOf(this.#prefix), headers: { asks: 'true' }, body: Buffer.alloc(0), persistent: false });
  }

  /** A stream to the keeper; destroyed when none is known. */
  connect(): Duplex {
    const [connection, keeper] = [this.#connection, this.#keeper];
    const name = newId();
    if (connection?.open !== true || keeper === undefined) return new Duplex({ read() {} }).on('error', () => {}).destroy(new Error('No process keeps the messages just now.'));
    const stream = new Tunnel(connection, name, `/queue/${this.#prefix}.tunnel.${keeper}`, this.#answers, () => this.#streams.delete(name));
    this.#streams.set(name, stream);
    return stream;
  }

  close(): void {
    this.#silence?.cancel();
    for (const stream of [...this.#streams.values()]) stream.destroy();
  }

  #hear(keeper: string | undefined): void {
    this.#silence?.cancel();
    const isNew = keeper !== this.#keeper;
    this.#keeper = keeper;
    if (isNew) this.close();
    if (keeper === undefined) return;
    this.#silence = this.#clock.after(BELIEVED_MS, () => this.#hear(undefined));
    if (isNew) this.onKeeper?.();
  }
}

function beatsOf(prefix: string): string {
  return `/topic/${prefix}.keeper`;
}
