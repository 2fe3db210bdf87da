import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { PeerAddress } from '../../src/ports/transport.ts';

/** What happens to one piece of bytes on its way; answers what is passed on instead (nothing: the piece is lost). */
export type Meddle = (chunk: Buffer, direction: Direction) => readonly Buffer[];
/** `up`: from who connected, towards the target. */
export type Direction = 'up' | 'down';

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
}

/**
 * Stands between two hosts on TCP and breaks what passes. All switches act at once, on connections that are there and
 * on new ones, and hold until they are changed.
 */
export class TcpProxy {
  /** Takes connections and bytes and passes nothing on, and nobody notices: a cable that was pulled. */
  isBlackHole = false;
  /** Every piece is held back so long. */
  delayMs = 0;
  /** Changes, repeats or loses pieces. */
  meddle: Meddle | undefined;
  readonly #target: PeerAddress['at'];
  readonly #listener: Server;
  readonly #pairs = new Set<Pair>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #port = 0;
  #isFrozen = false;
  #cut: { left: number; readonly direction: Direction } | undefined;

  private constructor(target: PeerAddress['at']) {
    this.#target = target;
    this.#listener = createServer({ allowHalfOpen: true }, (near) => this.#join(near));
  }

  /** Listens on a free port of 127.0.0.1, or on one where another proxy was. */
  static async start(target: PeerAddress['at'] | number, port = 0): Promise<TcpProxy> {
    const proxy = new TcpProxy(typeof target === 'number' ? { host: '127.0.0.1', port: target } : target);
    await once(proxy.#listener.listen(port, '127.0.0.1'), 'listening');
    proxy.#port = (proxy.#listener.address() as AddressInfo).port;
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  get address(): PeerAddress {
    return { at: { host: '127.0.0.1', port: this.#port } };
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** Nothing goes through any more, either way, and buffers fill up; connections stay, and new ones are accepted and stay mute. */
  freeze(): void {
    this.#isFrozen = true;
    for (const socket of this.#sockets()) socket.pause();
  }

  thaw(): void {
    this.#isFrozen = false;
    for (const socket of this.#sockets()) socket.resume();
  }

  /** Ends every connection on the spot. */
  cut(): void {
    for (const socket of this.#sockets()) socket.destroy();
  }

  /** Cuts everything after so many more bytes in this direction: in the middle of what is said. */
  cutAfter(bytes: number, direction: Direction = 'down'): void {
    this.#cut = { left: bytes, direction };
  }

  async stop(): Promise<void> {
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    this.cut();
    for (const timer of this.#timers) clearTimeout(timer);
    await closed;
  }

  #join(near: Socket): void {
    // What is said before the other side is there waits in its socket.
    const far = connect('socketPath' in this.#target ? { path: this.#target.socketPath, allowHalfOpen: true } : { ...this.#target, allowHalfOpen: true });
    const pair = { near, far };
    this.#pairs.add(pair);
    this.#pass(pair, near, far, 'up');
    this.#pass(pair, far, near, 'down');
    if (this.#isFrozen) for (const socket of [near, far]) socket.pause();
  }

  #pass(pair: Pair, from: Socket, to: Socket, direction: Direction): void {
    from.setNoDelay(true);
    from.on('data', (chunk: Buffer) => {
      if (this.isBlackHole) return;
      for (const piece of this.meddle?.(chunk, direction) ?? [chunk]) this.#later(() => this.#write(piece, from, to, direction));
    });
    from.on('end', () => this.isBlackHole || this.#later(() => to.end()));
    from.on('error', () => {});
    from.on('close', () => {
      this.#pairs.delete(pair);
      if (!this.isBlackHole) this.#later(() => to.destroy());
    });
  }

  #write(piece: Buffer, from: Socket, to: Socket, direction: Direction): void {
    if (this.isBlackHole || !to.writable) return;
    const cut = this.#cut;
    if (cut?.direction === direction) {
      if (piece.length >= cut.left) {
        this.#cut = undefined;
        // Half-closed first, so that what was written arrives before the end does.
        to.end(piece.subarray(0, cut.left));
        setImmediate(() => this.cut());
        return;
      }
      cut.left -= piece.length;
    }
    if (to.write(piece) || from.isPaused()) return;
    from.pause();
    to.once('drain', () => this.#isFrozen || from.resume());
  }

  /** Delayed pieces keep their order: timers of one length fire as they were set. */
  #later(act: () => void): void {
    if (this.delayMs === 0) return act();
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, this.delayMs);
    this.#timers.add(timer);
  }

  *#sockets(): Iterable<Socket> {
    for (const { near, far } of [...this.#pairs]) yield* [near, far];
  }
}
