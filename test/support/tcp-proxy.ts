import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** Stands between a client and a TCP server on this machine, and breaks what goes through it, byte by byte. */
export class TcpProxy {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [client: Socket, server: Socket]>();
  readonly #port: number;
  #frozen = false;
  /** Bytes that may still go back to clients before everything is cut. */
  #bytesLeft = Infinity;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    server.on('connection', (client) => this.#join(client, targetPort));
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TcpProxy(server, targetPort);
  }

  get port(): number {
    return this.#port;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** Nothing goes through any more, either way; connections stay, and new ones are accepted and stay mute. */
  freeze(): void {
    this.#frozen = true;
    for (const sockets of this.#pairs) for (const socket of sockets) socket.pause();
  }

  thaw(): void {
    this.#frozen = false;
    for (const sockets of this.#pairs) for (const socket of sockets) socket.resume();
  }

  /** Ends every connection on the spot. */
  cut(): void {
    for (const sockets of this.#pairs) for (const socket of sockets) socket.destroy();
  }

  /** Cuts everything after so many more bytes from the server: in the middle of what it says. */
  cutAfter(bytes: number): void {
    this.#bytesLeft = bytes;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cut();
    await closed;
  }

  #join(client: Socket, targetPort: number): void {
    const server = connect(targetPort, '127.0.0.1').setNoDelay();
    client.setNoDelay();
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
    client.on('data', (bytes) => server.write(bytes));
    server.on('data', (bytes: Buffer) => this.#back(client, bytes));
    if (this.#frozen) for (const socket of pair) socket.pause();
  }

  #back(client: Socket, bytes: Buffer): void {
    if (bytes.length < this.#bytesLeft) {
      this.#bytesLeft -= bytes.length;
      client.write(bytes);
      return;
    }
    // Half-closed first, so that what was written arrives before the end does.
    client.end(bytes.subarray(0, this.#bytesLeft));
    this.#bytesLeft = Infinity;
    setImmediate(() => this.cut());
  }
}
