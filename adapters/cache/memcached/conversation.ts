import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import type { Client } from 'memjs';
import type { Conversation } from '../../../src/kernel/optional-server.ts';

/** When the first connection is made: few installations have a use for it, and each start would wait for it. */
const load = createRequire(import.meta.url);

/** What memjs does not show of itself: its socket, there from the first command on, and whom it logs in as. */
interface Bare {
  readonly _socket: Socket | undefined;
  username: string | undefined;
  password: string | undefined;
}

/** memjs's own time-outs leave a half-closed socket behind that goes on reading; ours come first and close it. */
const BACKSTOP_SECONDS = 30;
const SILENT = { log() {} };

/**
 * One connection of memjs, thrown away with it: memjs keeps the rest of an answer that was cut short and would read it
 * before the next connection's, and its sequence numbers end after 2^31 commands.
 */
export class MemcachedConversation implements Conversation {
  readonly greeted: Promise<unknown>;
  readonly #client: Client;
  readonly #socket: Socket;
  #asked = 0;

  constructor(host: string, port: number, lost: (why: unknown) => void) {
    const { Client: Connection, Server } = load('memjs') as typeof import('memjs');
    const server = new Server(host, port, undefined, undefined, { timeout: BACKSTOP_SECONDS, conntimeout: BACKSTOP_SECONDS });
    const bare = server as unknown as Bare;
    // Left undefined, memjs has taken them from the environment.
    bare.username = undefined;
    bare.password = undefined;
    this.#client = new Connection([server], { retries: 0, logger: SILENT });
    this.greeted = this.#ask((client) => client.get('multilith-greeting'));
    this.#socket = bare._socket!;
    this.#socket.setNoDelay(true);
    this.#socket.on('close', () => lost('the connection was closed'));
    // Nothing bounds what memjs gathers of an answer that nobody has asked for.
    this.#socket.on('data', () => {
      if (this.#asked === 0) lost('it speaks without being asked');
    });
  }

  get(key: string): Promise<string | undefined> {
    return this.#ask((client) => client.get(key)).then(({ value }) => value?.toString('utf8'));
  }

  set(key: string, value: string, expires: number): Promise<void> {
    return this.#ask((client) => client.set(key, value, { expires })).then(() => {});
  }

  add(key: string, value: string, expires: number): Promise<void> {
    return this.#ask((client) => client.add(key, value, { expires })).then(() => {});
  }

  close(): void {
    this.#socket.destroy();
  }

  #ask<T>(command: (client: Client) => Promise<T>): Promise<T> {
    this.#asked++;
    return command(this.#client).finally(() => this.#asked--);
  }
}

/** Whether the server itself has said no, e.g. to a value that is too large, and is otherwise well. */
export function isRefusal(thrown: unknown): boolean {
  return thrown instanceof Error && /^MemJS (SET|ADD): /.test(thrown.message);
}
