import { MOST_VALUE_BYTES } from '../../../src/ports/transport.ts';

/** Of a value as JSON, and of all requests of a batch together; the same on every transport. */
export const MAX_VALUE_BYTES = MOST_VALUE_BYTES;
/** What goes around values in a body: the other fields of a call, the members of a problem. */
export const MARGIN_BYTES = 64 * 1024;
export const MAX_BODY_BYTES = MAX_VALUE_BYTES + MARGIN_BYTES;
/** How deep objects and arrays may lie in each other; JSON.stringify itself gives up between 4,000 and 8,000. The same on every transport. */
export const MAX_DEPTH = 1_000;
/** Names and values of a request's headers together; Node answers 431 beyond it. */
export const MAX_HEADER_BYTES = 16 * 1024;
export const MAX_BATCH_CALLS = 256;
/** Some thirty years; a deadline that is farther away, or never, crosses as this. */
export const MAX_TIMEOUT_MS = 1e12;
/** For whoever says nothing of a deadline, e.g. curl. */
export const DEFAULT_TIMEOUT_MS = 10_000;

/** What one link has under way or waiting; then `link_full`. */
export const MAX_PENDING_CALLS = 4_096;
export const MAX_PENDING_BYTES = 64 * 1024 * 1024;
/** Each carries one request at a time; beyond, calls wait for the next that is free and share it. */
export const MAX_CONNECTIONS_PER_LINK = 256;

/** What one host takes in; then `host_full`. */
export const MAX_CALLS_UNDER_WAY = 16_384;
export const MAX_CONNECTIONS = 4_096;
/** Requests that a client may send on one connection without waiting for their answers. */
export const MAX_PIPELINED = 16;
