import type { Duplex } from 'node:stream';
import type { Dispatcher, Identity, Server } from '../../../src/ports/transport.ts';
import { ServedConnection } from './served-connection.ts';
import type { RpcSettings } from './settings.ts';

/** Serves all connections that it is handed. Why one was closed is the error that its stream is destroyed with. */
export class RpcServer implements Server<Duplex> {
  readonly #identity: Identity;
  readonly #dispatcher: Dispatcher;
  readonly #settings: RpcSettings;
  readonly #connections = new Set<ServedConnection>();
  /** Of those, oldest first, whose handshake is not done. */
  readonly #strangers = new Set<ServedConnection>();
  #stopping: Promise<void> | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(identity: Identity, dispatcher: Dispatcher, settings: RpcSettings) {
    this.#identity = identity;
    this.#dispatcher = dispatcher;
    this.#settings = settings;
  }

  get connections(): number {
    return this.#connections.size;
  }

  accept(duplex: Duplex): void {
    if (this.#stopping !== undefined) {
      duplex.on('error', () => {}).destroy();
      return;
    }
    if ('setNoDelay' in duplex && typeof duplex.setNoDelay === 'function') duplex.setNoDelay(true);
    const [oldest] = this.#strangers;
    if (this.#strangers.size >= this.#settings.maxStrangers) oldest!.close('Too many others have not introduced themselves.');
    const connection: ServedConnection = new ServedConnection(duplex, this.#identity, this.#dispatcher, this.#settings, {
      opened: () => this.#strangers.delete(connection),
      closed: () => this.#forget(connection),
    });
    this.#connections.add(connection);
    this.#strangers.add(connection);
  }

  stop(deadlineMs: number): Promise<void> {
    return (this.#stopping ??= this.#stop(deadlineMs));
  }

  async #stop(deadlineMs: number): Promise<void> {
    const empty = new Promise<void>((resolve) => (this.#onEmpty = resolve));
    for (const connection of [...this.#connections]) connection.leave();
    if (this.#connections.size === 0) return;
    const timer = setTimeout(() => {
      for (const connection of [...this.#connections]) connection.close('This host has stopped.');
    }, deadlineMs);
    await empty;
    clearTimeout(timer);
  }

  #forget(connection: ServedConnection): void {
    this.#connections.delete(connection);
    this.#strangers.delete(connection);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }
}
