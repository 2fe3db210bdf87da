import { createServer as createTcpServer, type Server as NetServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Duplex } from 'node:stream';
import { type Lifecycle, StartStop } from '../../kernel/lifecycle.ts';
import type { Log } from '../../kernel/telemetry.ts';
import { PEER_REFUSED, type Server, type StreamTransport, type TlsMaterial } from '../../ports/transport.ts';
import type { ListenAddress } from '../config/listen.ts';
import { addressOf, listenAt } from './listening.ts';
import { RefusedConnections } from './refused-connections.ts';

export interface Spoken {
  readonly transport: StreamTransport;
  readonly server: Server<Duplex>;
}

/** Whoever has not said by then what it speaks is a stranger. */
const FIRST_WORDS_MS = 5_000;
/** So many bytes tell the transports apart. */
const ENOUGH_BYTES = 4;
const MOST_CONNECTIONS = 4_096;
/** Of those, such as have not said yet what they speak, or whose TLS handshake is not done; beyond it the oldest goes. */
const MOST_UNDECIDED = 256;

/** The port at which other hosts reach this one: one for all transports, told apart by their first bytes. */
export class PeerServer implements Lifecycle {
  readonly #server: NetServer;
  readonly #spoken: readonly Spoken[];
  readonly #life: StartStop;
  /** By where they come from, oldest first. With TLS these are the connections below it. */
  readonly #undecided = new Map<string, Socket>();
  readonly #refused: RefusedConnections;

  /** `host`: its name in the topology. */
  constructor(host: string, listen: ListenAddress, tls: TlsMaterial | undefined, spoken: readonly Spoken[], log: Log) {
    this.#spoken = spoken;
    this.#refused = new RefusedConnections(log);
    const accept = (socket: Socket) => this.#accept(socket);
    this.#server = tls === undefined ? createTcpServer({ noDelay: true, pauseOnConnect: false }, accept) : createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3', noDelay: true, handshakeTimeout: FIRST_WORDS_MS }, accept);
    this.#server.maxConnections = MOST_CONNECTIONS;
    // Before what the listener above does with it.
    this.#server.prependListener('connection', (socket: Socket) => this.#meet(socket));
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      // Who hangs up by itself was not refused: a check whether the port is open, for example.
      if (error.code !== 'ECONNRESET') this.#refused.note('connections were refused: their certificate is not one of ours', socket.remoteAddress, error.message);
      socket.destroy();
    });
    this.#life = new StartStop(
      () => listenAt(this.#server, listen, (address) => `--set hosts.${host}.listen=${address}`, log),
      (deadlineMs) => this.#close(deadlineMs),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** Answers what is under way, then closes every connection. */
  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /** Where it listens, with the port that the system chose when port 0 was asked for. */
  get address(): ListenAddress {
    return addressOf(this.#server);
  }

  #meet(socket: Socket): void {
    const from = originOf(socket);
    const [oldest] = this.#undecided.values();
    if (this.#undecided.size >= MOST_UNDECIDED) oldest!.destroy();
    this.#undecided.set(from, socket);
    socket.once('close', () => this.#undecided.get(from) === socket && this.#undecided.delete(from));
  }

  #accept(socket: Socket): void {
    const from = originOf(socket);
    // A socket that is closed does not know it any more.
    const { remoteAddress } = socket;
    const timer = setTimeout(() => socket.destroy(), FIRST_WORDS_MS);
    const decided = () => {
      clearTimeout(timer);
      this.#undecided.delete(from);
      socket.removeListener('readable', look);
      socket.removeListener('close', decided);
      socket.removeListener('error', ignore);
    };
    let beginning = Buffer.alloc(0);
    const look = () => {
      const more = socket.read() as Buffer | null;
      if (more === null) return;
      beginning = Buffer.concat([beginning, more]);
      if (beginning.length < ENOUGH_BYTES) return;
      // Once, at the end: what is put back counts as having just arrived, without a turn of the event loop between.
      socket.unshift(beginning);
      decided();
      const speaker = this.#spoken.find(({ transport }) => transport.recognises(beginning.subarray(0, 8)));
      if (speaker === undefined) return void socket.destroy();
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === PEER_REFUSED) this.#refused.note('connections were refused: whoever called has not shown that it belongs here', remoteAddress, error.message);
      });
      speaker.server.accept(socket);
    };
    socket.on('readable', look).once('close', decided).on('error', ignore);
  }

  async #close(deadlineMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#undecided.values()) socket.destroy();
    await Promise.all(this.#spoken.map(({ server }) => server.stop(deadlineMs)));
    await closed;
  }
}

function originOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress}:${remotePort}`;
}

function ignore(): void {}
