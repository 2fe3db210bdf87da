import type { Duplex } from 'node:stream';
import type { SecureContextOptions } from 'node:tls';
import type { Actor, Trace } from '../kernel/call.ts';
import type { EpochMs } from '../kernel/clock.ts';
import type { Fault, FaultRecord } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { HttpSurface } from '../kernel/module.ts';

/**
 * What a request or an answer may have between processes, as JSON text; more is refused with reason
 * `request_too_large` or `answer_too_large`. Reading it holds up everything else in the process: 10 to 15 ms a MB of
 * events, 1 ms a MB of texts, and ten times as much as events where keys are many and all differ.
 */
export const MOST_VALUE_BYTES = 4 * 1024 * 1024;

/** The reason where there is no connection to send a call over; nothing has left. */
export const NOT_CONNECTED = 'not_connected';
/** The reason of a host that takes no new calls because it stops; it has done nothing. */
export const STOPPING = 'stopping';

/** The `code` of the error with which a server destroys a stream whose other side has not shown that it belongs here. */
export const PEER_REFUSED = 'ERR_PEER_REFUSED';

/** A call on its way out. Values are JSON-safe; what JSON cannot carry is a defect of the caller's. */
export interface RemoteCall {
  readonly contract: string;
  readonly method: string;
  readonly request: unknown;
  readonly id: string;
  readonly workspace: string | null;
  readonly actor: Actor;
  readonly trace: Trace;
  readonly idempotencyKey: string | undefined;
  /** By this side's clock; what crosses is the time left, so that clocks need not agree. */
  readonly deadline: EpochMs;
}

/** The same as it arrives, its deadline by the clock of the side that serves. */
export interface ArrivedCall extends RemoteCall {
  /** Aborts with a Fault `cancelled` when the caller cancels, or when nobody is left to take the answer. Made only when read. */
  readonly signal: AbortSignal;
}

export type Answer = { readonly value: unknown } | { readonly fault: FaultRecord };

/** What serves the calls that a transport takes in. */
export interface Dispatcher {
  /** Never rejects. Checks the request, runs it, checks the answer. */
  dispatch(call: ArrivedCall): Promise<Answer>;
}

/** A contract as hosts tell each other of it. `operations` holds `schemasOf`'s answer. */
export interface ContractOffer {
  readonly name: string;
  readonly hash: string;
  readonly operations: Readonly<Record<string, object>>;
}

/** What a host says of itself when it meets another. */
export interface Introduction {
  /** By the topology, e.g. `mailer`. */
  readonly host: string;
  /** One process: another one after a restart. */
  readonly process: string;
  /** Hashes of the contracts that it serves, by name. */
  readonly contracts: Readonly<Record<string, string>>;
}

/** Who this host is, and what it shows to those who know the secret. */
export interface Identity {
  readonly introduction: Introduction;
  readonly offers: readonly ContractOffer[];
  /** Shared by all hosts of a topology; null serves and calls without, which is for loopback, sockets and threads. */
  readonly secret: string | null;
}

/** Where a host is reached. With `tls` both ends show certificates of the same authority (mutual TLS). */
export interface PeerAddress {
  readonly at: { readonly host: string; readonly port: number } | { readonly socketPath: string };
  readonly tls?: TlsMaterial;
}

/** PEM texts: own certificate, own key, and the authority that signs everybody's. */
export interface TlsMaterial extends Required<Pick<SecureContextOptions, 'cert' | 'key' | 'ca'>> {
  /** The name that the other side's certificate must carry. */
  readonly serverName?: string;
}

/** What becomes of one call; exactly one of the two is called, once. */
export interface Reply {
  succeed(value: unknown): void;
  /**
   * Origin `reply`: the callee's own. `unsent`: no byte of the request can have been acted upon. `lost`: the connection
   * ended, or the other side fell silent, after the request may have left.
   */
  fail(fault: Fault): void;
}

export type LinkState = 'connecting' | 'open' | 'closed';

/**
 * The calling end between this process and one other, over which all contracts of that process are called. Connects
 * by itself once started, and again after a loss, with backoff and jitter, for ever; `start` does not wait for it.
 */
export interface Link extends Lifecycle {
  readonly state: LinkState;
  /** Calls under way. */
  readonly pending: number;
  /** The other side's, of the connection that is open or was open last. */
  readonly peer: Introduction | undefined;
  /**
   * Whether the last connection went because the other side said that it stops, as against one that broke. Whoever stops
   * in order is most likely started again. Means nothing while a connection is open.
   */
  readonly leftInOrder: boolean;
  /** Why there is no connection now, for people; undefined while there is one. */
  readonly problem: string | undefined;
  /** Bytes since the start, both ways, as they crossed. */
  readonly traffic: { readonly sent: number; readonly received: number };
  /** Called after each change of `state`. */
  onChange: (() => void) | undefined;
  /**
   * Sends a call; answers what cancels it. After cancelling, no reply comes. The link knows nothing of deadlines but to
   * tell the other side: whoever calls lets go in time. Not open: `fail` with `unavailable`/`not_connected`, `unsent`.
   * Too much under way towards a peer that does not read: `exhausted`/`link_full`, `unsent`.
   */
  send(call: RemoteCall, reply: Reply): () => void;
  /** What the peer serves, with schemas. Faults: as of a call; `deadline` after 5 s. */
  describe(): Promise<readonly ContractOffer[]>;
}

/** The serving end of a transport: connections that somebody else accepted are handed in. */
export interface Server<Connection> {
  accept(connection: Connection): void;
  /** Tells peers to send nothing new, answers what is under way, then closes; at the deadline closes all the same. */
  stop(deadlineMs: number): Promise<void>;
  /** Connections open now. */
  readonly connections: number;
}

/** One way for calls to leave the process, over streams (TCP, TLS, Unix sockets). */
export interface StreamTransport {
  /** Whether a connection that begins so (1 to 8 bytes) speaks this transport. All transports of a host share one port. */
  recognises(beginning: Uint8Array): boolean;
  /** `others`: for a transport that is HTTP, who answers what is no call; nobody, when left out. */
  serve(identity: Identity, dispatcher: Dispatcher, others?: HttpSurface): Server<Duplex>;
  link(identity: Identity, to: PeerAddress): Link;
}
