import { MOST_VALUE_BYTES } from '../../../src/ports/transport.ts';

/** What a connection may hold and how long it waits. The defaults are what a topology gets. */
export interface RpcSettings {
  /** The longest frame that is taken or sent; a call or an answer that does not fit is refused. */
  readonly maxFrameBytes: number;
  /** The longest frame before the other side has proved itself. */
  readonly maxHandshakeBytes: number;
  /** From connecting (or being connected to) until both have introduced themselves. */
  readonly handshakeMs: number;
  /** Connections of a server whose handshake is not done; beyond it the oldest is closed. */
  readonly maxStrangers: number;
  /** How often a connection is looked at; one that was silent since the last look is pinged. */
  readonly beatMs: number;
  /** After so many looks without a byte the other side counts as gone. */
  readonly silentBeats: number;
  /** What a server lets one connection have under way: calls, and bytes of their requests (the last may overshoot). */
  readonly windowCalls: number;
  readonly windowBytes: number;
  /** What waits for room before a call is refused: calls, and bytes of their texts, or of answers at the other end. */
  readonly queueCalls: number;
  readonly queueBytes: number;
  /** With so much written and not yet taken by the socket, what follows waits. */
  readonly highWaterBytes: number;
  /** Pauses between attempts to connect: doubling from the first to the most, half of each by chance. */
  readonly firstPauseMs: number;
  readonly mostPauseMs: number;
  /** How long `describe` waits. */
  readonly describeMs: number;
}

const MB = 1024 * 1024;

export const DEFAULTS: RpcSettings = {
  // One message is 256 KB less (docs/wire.md): the value and what goes around it.
  maxFrameBytes: MOST_VALUE_BYTES + 320 * 1024,
  maxHandshakeBytes: 64 * 1024,
  handshakeMs: 5_000,
  maxStrangers: 256,
  beatMs: 1_000,
  silentBeats: 4,
  windowCalls: 1_024,
  windowBytes: 32 * MB,
  queueCalls: 4_096,
  queueBytes: 64 * MB,
  highWaterBytes: 4 * MB,
  firstPauseMs: 50,
  mostPauseMs: 500,
  describeMs: 5_000,
};
