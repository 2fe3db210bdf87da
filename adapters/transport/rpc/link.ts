import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { Fault } from '../../../src/kernel/fault.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import type { ContractOffer, Identity, Introduction, Link, LinkState, PeerAddress, RemoteCall, Reply } from '../../../src/ports/transport.ts';
import { failSoon } from '../shared/fail-soon.ts';
import { CallingConnection, notConnected } from './calling-connection.ts';
import { pauseMs } from './pause.ts';
import type { RpcSettings } from './settings.ts';

/** How a link gets to the other side. */
export interface Way {
  /** For people. */
  readonly name: string;
  /** A new stream, on its way to the other side or there already; one that is destroyed when there is no way now. */
  connect(): Duplex;
}

/**
 * The calling end towards one process. At most one connection takes new calls; those whose peer is stopping stay until
 * their calls are answered. `connecting` covers the attempts and the pauses between them.
 */
export class RpcLink implements Link {
  onChange: (() => void) | undefined;
  readonly #identity: Identity;
  readonly #to: Way;
  readonly #settings: RpcSettings;
  readonly #life = new StartStop(
    () => this.#connect(),
    (deadlineMs) => this.#stop(deadlineMs),
  );
  #state: LinkState = 'closed';
  #peer: Introduction | undefined;
  #leftInOrder = false;
  #problem: string | undefined = 'It was not started.';
  /** The one being made, or open. */
  #current: CallingConnection | undefined;
  readonly #connections = new Set<CallingConnection>();
  #attempts = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  #onEmpty: (() => void) | undefined;
  #closedSent = 0;
  #closedReceived = 0;

  constructor(identity: Identity, to: Way, settings: RpcSettings) {
    this.#identity = identity;
    this.#to = to;
    this.#settings = settings;
  }

  get state(): LinkState {
    return this.#state;
  }

  get pending(): number {
    let pending = 0;
    for (const connection of this.#connections) pending += connection.pending;
    return pending;
  }

  get peer(): Introduction | undefined {
    return this.#peer;
  }

  get leftInOrder(): boolean {
    return this.#leftInOrder;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  get traffic(): { readonly sent: number; readonly received: number } {
    let sent = this.#closedSent;
    let received = this.#closedReceived;
    for (const connection of this.#connections) {
      sent += connection.sentBytes;
      received += connection.receivedBytes;
    }
    return { sent, received };
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  send(call: RemoteCall, reply: Reply): () => void {
    if (this.#state === 'open') return this.#current!.send(call, reply);
    return failSoon(reply, notConnected(this.#problem!));
  }

  describe(): Promise<readonly ContractOffer[]> {
    return new Promise((resolve, reject) => {
      if (this.#state !== 'open') return reject(notConnected(this.#problem!));
      const timer = setTimeout(() => reject(new Fault('deadline', 'The host did not say what it serves in time.', { origin: 'lost' })), this.#settings.describeMs);
      this.#current!.describe({
        succeed: (offers) => {
          clearTimeout(timer);
          resolve(offers as readonly ContractOffer[]);
        },
        fail: (fault) => {
          clearTimeout(timer);
          reject(fault);
        },
      });
    });
  }

  #connect(): void {
    if (this.#isStopped) return;
    this.#timer = undefined;
    const connection: CallingConnection = new CallingConnection(this.#to.connect(), this.#identity, this.#settings, {
      opened: (peer) => this.#opened(peer),
      leaving: () => this.#away(connection, 'The host is stopping.', true),
      closed: (problem) => this.#closed(connection, problem),
    });
    this.#current = connection;
    this.#connections.add(connection);
    if (this.#state === 'closed') this.#become('connecting', 'It is connecting.');
  }

  #opened(peer: Introduction): void {
    this.#attempts = 0;
    this.#peer = peer;
    this.#become('open', undefined);
  }

  /** The connection takes no more calls: another one is needed. */
  #away(connection: CallingConnection, problem: string, isInOrder: boolean): void {
    if (this.#current !== connection) return;
    this.#current = undefined;
    if (this.#isStopped) return;
    if (this.#state === 'open') this.#leftInOrder = isInOrder;
    this.#timer = setTimeout(() => this.#connect(), pauseMs(this.#attempts++, this.#leftInOrder, this.#settings));
    this.#become('connecting', `${this.#to.name}: ${problem}`);
  }

  #closed(connection: CallingConnection, problem: string): void {
    this.#connections.delete(connection);
    this.#closedSent += connection.sentBytes;
    this.#closedReceived += connection.receivedBytes;
    this.#away(connection, problem, false);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #become(state: LinkState, problem: string | undefined): void {
    const isChange = this.#state !== state;
    this.#state = state;
    this.#problem = problem;
    if (isChange) this.onChange?.();
  }

  async #stop(deadlineMs: number): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#become('closed', 'It was stopped.');
    const empty = new Promise<void>((resolve) => (this.#onEmpty = resolve));
    for (const connection of [...this.#connections]) connection.closeWhenDone();
    if (this.#connections.size === 0) return;
    const timer = setTimeout(() => {
      for (const connection of [...this.#connections]) connection.close('This side has stopped.');
    }, deadlineMs);
    await empty;
    clearTimeout(timer);
  }
}

export function wayTo(to: PeerAddress): Way {
  return { name: nameOf(to), connect: () => streamTo(to) };
}

function streamTo({ at, tls }: PeerAddress): Duplex {
  const where = 'socketPath' in at ? { path: at.socketPath } : { host: at.host, port: at.port, noDelay: true };
  if (tls === undefined) return connect(where);
  const { serverName, ...material } = tls;
  return connectTls({ ...where, ...material, ...(serverName === undefined ? {} : { servername: serverName }), rejectUnauthorized: true });
}

function nameOf({ at }: PeerAddress): string {
  return 'socketPath' in at ? at.socketPath : `${at.host}:${at.port}`;
}
