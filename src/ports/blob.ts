import { Fault } from '../kernel/fault.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';

/**
 * Large things that are written once, whole, and read or removed later. Faults: `invalid`/`blob_key`, `unavailable` (the
 * disk or the server; `details.remedy`), `exhausted`/`disk_full`, `denied` (the server refuses our key), `cancelled`.
 */
export interface Blobs extends Lifecycle {
  /** Processes on other machines find the same under a key. */
  readonly spansHosts: boolean;
  /**
   * Keeps `content` under a key, in the place of what was there. All or nothing: until it resolves with the number of
   * bytes a reader finds what was there before; when `content` throws or the signal comes, that stays.
   * Memory is bounded whatever the length; `content` waits while it cannot be written.
   */
  write(key: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number>;
  /** As it was when the reading began. A consumer that stops early frees it. Fault `not_found`/`blob_not_found`, when read. */
  read(key: string, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Nothing is there afterwards; twice is no fault. */
  remove(key: string): Promise<void>;
  /** Answers whether things can be kept now, in words for an operator. */
  check(): Promise<{ readonly ok: boolean; readonly detail: string }>;
}
export const Blobs = Symbol.for('multilith.Blobs');

/** Parts of small letters, digits, dots and hyphens, none beginning with a dot, joined by slashes: 500 characters at most. */
const KEY = /^[a-z0-9][a-z0-9.-]{0,199}(?:\/[a-z0-9][a-z0-9.-]{0,199})*$/;

/** Fault `invalid`/`blob_key`. */
export function requireKey(key: string): void {
  if (!KEY.test(key) || key.length > 500) throw new Fault('invalid', `${JSON.stringify(key.slice(0, 100))} is no key: parts of small letters, digits, dots and hyphens, joined by slashes.`, { reason: 'blob_key' });
}

export function blobNotFound(): Fault {
  return new Fault('not_found', 'There is nothing under this key.', { reason: 'blob_not_found' });
}
