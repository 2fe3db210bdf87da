import type { z } from 'zod';
import type { Trace } from '../../../src/kernel/call.ts';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { backoffMs } from './backoff.ts';
import type { ChannelResult } from '../../../src/ports/channel.ts';
import type { Delivery, DeliveryState, SendRequest } from '../contract.ts';

/** One message that was asked for. */
export interface SendJob extends z.infer<typeof SendRequest> {
  readonly id: string;
  readonly workspace: string;
  readonly trace: Trace;
}

/** A delivery with what only this module needs to know. */
export interface StoredDelivery extends Omit<Delivery, 'attempts'> {
  readonly workspace: string;
  readonly attempts: readonly Attempt[];
  readonly tries: number;
}
export type Attempt = Delivery['attempts'][number];

export interface DeliveryPolicy {
  readonly tries: number;
  readonly retryFirstMs: number;
  readonly retryMostMs: number;
  readonly giveUpAfterMs: number;
  readonly onUncertain: 'repeat' | 'hold';
}

/** What changes when a try has ended. */
export type Settlement = Pick<StoredDelivery, 'state' | 'reason' | 'mayBeRepeated' | 'attempts' | 'tries' | 'nextAttemptAt'>;

/** What a try that was cut off by a crash is taken for. */
export const INTERRUPTED: ChannelResult = { kind: 'uncertain', response: 'The program ended before the answer was recorded.', reason: 'interrupted' };
/** More are not kept: no policy allows as many, and a row must stay small. */
const MOST_ATTEMPTS = 120;
const REPEATS_OF_UNCERTAIN = 1;
const WAIT_FOR_CHANNEL_MS = 1_000;

/** States that nothing follows. */
export const AT_REST: readonly DeliveryState[] = ['sent', 'uncertain', 'suppressed', 'failed'];

export function isAtRest(state: DeliveryState): boolean {
  return AT_REST.includes(state);
}

/**
 * The states of a delivery:
 *
 *   (asked for) → suppressed | failed            decided before anything was sent
 *   (asked for) → sending → sent | failed        the channel has answered
 *                 sending → pending → sending    put off, or an unknown outcome that is worth one repeat
 *                 sending → uncertain            nobody knows whether it arrived
 *
 * `sending` is written down before the channel is asked, so that after a crash it can only mean: nobody knows. Once an
 * answer was lost, a later refusal no longer means that the person has nothing: such a delivery ends as uncertain.
 */
export function settle(delivery: StoredDelivery, result: ChannelResult, policy: DeliveryPolicy, now: EpochMs, random: () => number): Settlement {
  const { mayBeRepeated, attempts, tries } = delivery;
  const isOld = now - delivery.createdAt >= policy.giveUpAfterMs;
  if (result.untried) {
    return isOld ? endOf(delivery, attempts, result.reason) : { state: 'pending', reason: result.reason, mayBeRepeated, attempts, tries, nextAttemptAt: now + WAIT_FOR_CHANNEL_MS };
  }
  const attempt: Attempt = { at: now, result: result.kind, reason: result.reason.slice(0, 100), response: result.response.slice(0, 1_000) };
  const allAttempts = [...attempts, attempt].slice(-MOST_ATTEMPTS);
  switch (result.kind) {
    case 'accepted':
      return { state: 'sent', reason: null, mayBeRepeated, attempts: allAttempts, tries, nextAttemptAt: null };
    case 'rejected':
      return endOf(delivery, allAttempts, attempt.reason);
    case 'deferred': {
      if (isOld || tries + 1 >= policy.tries) return { ...endOf(delivery, allAttempts, attempt.reason), tries: tries + 1 };
      const wait = backoffMs(tries, policy, random);
      return { state: 'pending', reason: attempt.reason, mayBeRepeated, attempts: allAttempts, tries: tries + 1, nextAttemptAt: now + wait };
    }
    case 'uncertain': {
      const repeats = attempts.filter((earlier) => earlier.result === 'uncertain').length;
      if (policy.onUncertain === 'hold' || repeats >= REPEATS_OF_UNCERTAIN || isOld) {
        return { state: 'uncertain', reason: attempt.reason, mayBeRepeated, attempts: allAttempts, tries, nextAttemptAt: null };
      }
      const wait = result === INTERRUPTED ? 0 : policy.retryFirstMs;
      return { state: 'pending', reason: attempt.reason, mayBeRepeated: true, attempts: allAttempts, tries, nextAttemptAt: now + wait };
    }
  }
}

function endOf(delivery: StoredDelivery, attempts: readonly Attempt[], reason: string): Settlement {
  const { mayBeRepeated, tries } = delivery;
  return { state: mayBeRepeated ? 'uncertain' : 'failed', reason, mayBeRepeated, attempts, tries, nextAttemptAt: null };
}
