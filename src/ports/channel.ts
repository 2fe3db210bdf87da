import type { EpochMs } from '../kernel/clock.ts';
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
  /** With `deferred`: nothing was tried, since the other side is known to be away (`pausedUntil`), or the channel stops. Not a try. */
  readonly untried?: true;
}

/** A mail that a channel has kept. */
export interface KeptMail {
  readonly deliveryId: string;
  readonly storedAt: EpochMs;
  readonly bytes: number;
  /** As it was sent. In lists only the first 16 KB, which hold the headers. */
  readonly raw: Uint8Array;
}

/** For channels that keep mails where they can be read instead of passing them on. What one process keeps is for it alone. */
export interface KeptMails {
  /** Newest first. `after` is the `next` of the page before. */
  list(workspace: string, page: { readonly after?: string; readonly limit: number }): Promise<{ readonly mails: readonly KeptMail[]; readonly next: string | null }>;
  /** Null when it is not kept (any more). */
  read(workspace: string, deliveryId: string): Promise<KeptMail | null>;
  /** They are gone when this answers; those that are not kept are no fault. At most 1,000 at once. */
  forget(workspace: string, deliveryIds: readonly string[]): Promise<void>;
}

/** A way out of the house. Never throws for what the other side does; a throw is a defect here and means `deferred`. */
export interface Channel extends Lifecycle {
  /** How many sends may be under way at once; more wait in line. */
  readonly capacity: number;
  send(message: ChannelMessage, signal: AbortSignal): Promise<ChannelResult>;
  /**
   * A stop is coming: from here on sends are answered `deferred` and `untried`, and so are those of which the other
   * side has nothing yet, at once. Messages that are being handed over go on until `stop`'s deadline. Left out where
   * no send takes long.
   */
  quiesce?(): void;
  /** Answers whether the other side can be reached now, in words for an operator. */
  check(): Promise<{ readonly ok: boolean; readonly detail: string }>;
  /** The other side is away; a send before this time is answered `deferred` and `untried`. Left out or null: send. */
  readonly pausedUntil?: EpochMs | null;
  /** Only where mails are kept. */
  readonly kept?: KeptMails;
}

/** The channels of this host by name, e.g. `email`. Injected by this token. */
export type Channels = ReadonlyMap<string, Channel>;
export const Channels = Symbol.for('multilith.Channels');
