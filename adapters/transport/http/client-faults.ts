import { Fault } from '../../../src/kernel/fault.ts';
import { NOT_CONNECTED } from '../../../src/ports/transport.ts';
import { MAX_DEPTH, MAX_VALUE_BYTES } from './limits.ts';
import { recordOfProblem } from './problem.ts';

/** A connection that could not be had, or that ended before the answer. `begun`: bytes of the request may have left. */
export function brokenFault(peer: string, begun: boolean, cause: unknown): Fault {
  if (begun) return new Fault('unavailable', `The connection to ${peer} ended before the answer came.`, { reason: 'connection_lost', origin: 'lost', cause });
  return new Fault('unavailable', `There is no connection to ${peer}.`, { reason: NOT_CONNECTED, origin: 'unsent', cause });
}

/** What a proxy answers by itself, before it passes anything on. */
const NEVER_PASSED_ON: ReadonlySet<number> = new Set([407, 411, 413, 414, 421, 425, 429, 431]);

/** An answer that is no success: the peer's own fault, or that of somebody in between. */
export function refusalFault(peer: string, status: number, body: Buffer): Fault {
  const record = recordOfProblem(parsed(body));
  // The callers of this call have shown who they are; it is this host that was not let in.
  if (record?.code === 'unauthenticated' && record.origin === 'unsent') return new Fault('unavailable', `${peer} does not accept this host's secret.`, { reason: 'secret_refused', origin: 'unsent' });
  if (record !== undefined) return Fault.fromRecord(record);
  const origin = NEVER_PASSED_ON.has(status) ? 'unsent' : 'lost';
  return new Fault('unavailable', `Something between here and ${peer} answered with status ${status}.`, { reason: 'foreign_answer', details: { status }, origin });
}

export function unreadableFault(peer: string): Fault {
  return new Fault('unavailable', `The answer of ${peer} cannot be read.`, { reason: 'unreadable_answer', origin: 'lost' });
}

/** A request that must not leave. */
export function unsendable(problem: 'not_json' | 'too_large'): Fault {
  const message = problem === 'too_large' ? `The request takes more than ${MAX_VALUE_BYTES} bytes. Large things go through the blob port.` : `The request is not JSON, or nested more than ${MAX_DEPTH} deep.`;
  return new Fault('invalid', message, { reason: `request_${problem}`, details: problem === 'too_large' ? { maxBytes: MAX_VALUE_BYTES } : {}, origin: 'unsent' });
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
