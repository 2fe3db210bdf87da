import type { Lifecycle } from '../kernel/lifecycle.ts';

/** A finished message for one person. `raw` is complete: whatever signs or adds trace headers does so at the channel. */
export interface ChannelMessage {
  /** Ours, stable over tries. */
  readonly deliveryId: string;
  readonly workspace: string;
  readonly envelope: { readonly from: string; readonly to: string };
  /** RFC 5322 message with CRLF line ends, not dot-stuffed. */
  readonly raw: Uint8Array;
}

/**
 * What became of one try.
 * - `accepted`: the other side has taken responsibility.
 * - `rejected`: it never will (SMTP 5xx).
 * - `deferred`: it may later (SMTP 4xx, no connection, cut before the message was handed over): surely not accepted.
 * - `uncertain`: the message was handed over and no answer came; nobody knows.
 */
export interface ChannelResult {
  readonly kind: 'accepted' | 'rejected' | 'deferred' | 'uncertain';
  /** The other side's own words, at most 1,000 characters of printable text. */
  readonly response: string;
  /** Stable, for programs: an SMTP enhanced status such as `5.1.1`, or a name such as `connection_refused`. */
  readonly reason: string;
}

/** A way out of the house. Never throws for what the other side does; a throw is a defect here and means `deferred`. */
export interface Channel extends Lifecycle {
  /** How many sends may be under way at once; more wait in line. */
  readonly capacity: number;
  send(message: ChannelMessage, signal: AbortSignal): Promise<ChannelResult>;
  /** Answers whether the other side can be reached now, in words for an operator. */
  check(): Promise<{ readonly ok: boolean; readonly detail: string }>;
}

/** The channels of this host by name, e.g. `email`. Injected by this token. */
export type Channels = ReadonlyMap<string, Channel>;
export const Channels = Symbol.for('multilith.Channels');
