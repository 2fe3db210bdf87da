import type { EpochMs } from '../../../src/kernel/clock.ts';
import { toFault } from '../../../src/kernel/fault.ts';

/** What cannot go on for so long has failed. */
const GIVE_UP_MS = 6 * 3_600_000;
export const AGAIN_MS = 10_000;

interface WorkAtFault {
  readonly signal: AbortSignal;
  readonly now: EpochMs;
  /** When it last came forward. */
  readonly since: EpochMs;
  /** The last try before the error queue. */
  readonly last: boolean;
}

/**
 * What becomes of work on a file in the background that has thrown: it comes again then, or has failed for this reason.
 * Throws on what another try may help against.
 */
export function afterFault(thrown: unknown, { signal, now, since, last }: WorkAtFault): { readonly again: { readonly notBefore: EpochMs; readonly reason: string } } | { readonly failed: string } {
  if (signal.aborted) return { again: { notBefore: now, reason: 'stopping' } };
  const { code, reason } = toFault(thrown);
  const mayPass = code === 'unavailable' || code === 'exhausted' || code === 'deadline';
  if (mayPass && now - since < GIVE_UP_MS) return { again: { notBefore: now + AGAIN_MS, reason } };
  if (!last && code === 'internal') throw thrown;
  return { failed: reason };
}
