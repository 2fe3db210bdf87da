import { Fault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Handler, Incoming, Outcome } from './bus.ts';

/** Calls the handler. Never rejects: a throw, and an answer that is no outcome, count as `retry`, on every driver of the bus. */
export async function outcomeOf(handler: Handler, message: Incoming, log: Log): Promise<Outcome> {
  try {
    return sound(await handler(message));
  } catch (thrown) {
    return { kind: 'retry', reason: reasonOf(thrown, message, log) };
  }
}

/** An outcome as it can be written; what is none is a throw. One that could not be written would hold up the whole bus. */
function sound(outcome: Outcome): Outcome {
  if (outcome?.kind === 'done' || outcome?.kind === 'interrupted') return outcome;
  if (outcome?.kind !== 'retry' && outcome?.kind !== 'dead') throw new TypeError('The handler answered no outcome.');
  const reason = String(outcome.reason);
  if (outcome.kind === 'dead' || outcome.notBefore === undefined) return { kind: outcome.kind, reason };
  const notBefore = Math.ceil(outcome.notBefore);
  if (!Number.isSafeInteger(notBefore)) throw new TypeError('The handler answered a time that is none.');
  return { kind: 'retry', reason, notBefore };
}

/** What staff may read: a fault says so itself; anything else may hold personal data and goes to the log alone. */
function reasonOf(thrown: unknown, { queue, id, attempt }: Incoming, log: Log): string {
  if (Fault.is(thrown)) return `${thrown.code}/${thrown.reason}: ${thrown.message}`;
  log.error({ queue, messageId: id, attempt, err: thrown }, 'a message handler threw');
  return `internal: ${thrown instanceof Error ? thrown.name : typeof thrown}`;
}
