import type { Socket } from 'node:net';
import { buildConnector, Client } from 'undici';
import type { PeerAddress } from '../../../src/ports/transport.ts';

const CONNECT_TIMEOUT_MS = 3_000;
/** Shorter than what servers keep, so that no request is written to a connection that its server is closing. */
const KEEP_ALIVE_MS = 30_000;

/** The connections of a link, each with one request at a time, made as they are needed and kept while they are in use. */
export class Connections {
  readonly #origin: string;
  readonly #connect: buildConnector.connector;
  readonly #most: number;
  readonly #clients = new Set<Client>();
  /** The one that was used last comes first, so that those that are not needed fall idle. */
  readonly #idle: Client[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #closed = { sent: 0, received: 0 };
  readonly #onWatchedLost: () => void;
  #watched: Client | undefined;
  #aside: Client | undefined;

  /** `onWatchedLost` is called when the connection that is watched ends, for whatever reason. */
  constructor(to: PeerAddress, most: number, onWatchedLost: () => void) {
    this.#onWatchedLost = onWatchedLost;
    this.#origin = originOf(to);
    this.#most = most;
    const connect = buildConnector({ ...connectionOptions(to), timeout: CONNECT_TIMEOUT_MS, allowH2: false });
    this.#connect = (options, callback) =>
      connect(options, (...[error, socket]) => {
        if (error) return callback(error, null);
        this.#count(socket);
        callback(null, socket);
      });
  }

  /** Undefined when all that may be are busy. To be given back. */
  take(): Client | undefined {
    return this.#idle.pop() ?? (this.#clients.size < this.#most ? this.#open() : undefined);
  }

  give(client: Client): void {
    if (this.#clients.has(client)) this.#idle.push(client);
  }

  /** A connection for questions whether the peer is there, whose end is noticed at once. */
  get watched(): Client {
    return (this.#watched ??= this.#open().on('disconnect', this.#onWatchedLost));
  }

  /** A connection for what is no call. */
  get aside(): Client {
    return (this.#aside ??= this.#open());
  }

  /** Closes those that nobody uses; new ones can be taken. */
  closeIdle(): void {
    for (const client of this.#idle.splice(0)) {
      this.#clients.delete(client);
      void client.destroy();
    }
  }

  /** Cuts all, whatever is under way on them: it fails. New ones can be taken. */
  async cut(): Promise<void> {
    const clients = [...this.#clients];
    this.#clients.clear();
    this.#idle.length = 0;
    this.#watched = undefined;
    this.#aside = undefined;
    await Promise.all(clients.map((client) => client.destroy()));
  }

  get sent(): number {
    return sum(this.#sockets, ({ bytesWritten }) => bytesWritten) + this.#closed.sent;
  }

  get received(): number {
    return sum(this.#sockets, ({ bytesRead }) => bytesRead) + this.#closed.received;
  }

  #open(): Client {
    // Time-outs belong to the callers, each with its own deadline, and to the watch, which notices a peer that is silent.
    const client = new Client(this.#origin, { connect: this.#connect, headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: KEEP_ALIVE_MS, keepAliveMaxTimeout: KEEP_ALIVE_MS });
    this.#clients.add(client);
    return client;
  }

  #count(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#closed.sent += socket.bytesWritten;
      this.#closed.received += socket.bytesRead;
    });
  }
}

/** For people, and for the header Host. */
export function originOf({ at, tls }: PeerAddress): string {
  const scheme = tls === undefined ? 'http' : 'https';
  if ('socketPath' in at) return `${scheme}://localhost`;
  return `${scheme}://${at.host.includes(':') ? `[${at.host}]` : at.host}:${at.port}`;
}

function connectionOptions({ at, tls }: PeerAddress): buildConnector.BuildOptions {
  const path = 'socketPath' in at ? { socketPath: at.socketPath } : {};
  if (tls === undefined) return path;
  const { cert, key, ca, serverName } = tls;
  return { ...path, cert, key, ca, rejectUnauthorized: true, ...(serverName === undefined ? {} : { servername: serverName }) };
}

function sum(sockets: Iterable<Socket>, of: (socket: Socket) => number): number {
  let total = 0;
  for (const socket of sockets) total += of(socket);
  return total;
}
