import type { Call } from '../kernel/call.ts';
import { Fault, toFault } from '../kernel/fault.ts';
import type { Log } from '../kernel/telemetry.ts';

/**
 * What an implementation threw, as its caller gets it. The inside of an unexpected exception stays here, in the log
 * under the call's id. That a call which the callee made in turn never left says nothing of the callee's own work, so
 * `unsent` becomes `reply`; `lost` stays, since then nobody knows here either.
 */
export function faultOf(thrown: unknown, operation: string, call: Call, log: Log): Fault {
  const fault = toFault(thrown);
  if (fault.cause !== undefined && fault.code === 'internal') log.error({ callId: call.id, traceId: call.trace.traceId, operation, err: fault.cause }, 'call failed');
  return fault.origin === 'unsent' ? fault.with({ origin: 'reply', cause: fault }) : fault;
}
