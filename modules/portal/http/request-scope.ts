import type { IncomingMessage, ServerResponse } from 'node:http';
import { newTrace, type Trace } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { clientAddress } from './address.ts';
import type { Principal } from './principal.ts';

/** What one HTTP request carries along from its first line to its last. */
export interface RequestScope {
  readonly callId: string;
  readonly trace: Trace;
  /** Aborts when the client goes away before it was answered. */
  readonly left: AbortSignal;
  readonly address: string;
  readonly startedAt: number;
  /** The route's path with its parameters' names, for log and metrics: the real one may hold secrets. */
  route: string;
  principal: Principal | null;
}

export function openScope(request: IncomingMessage, response: ServerResponse, trustedProxies: number): RequestScope {
  const left = new AbortController();
  response.on('close', () => {
    if (!response.writableFinished) left.abort(new Fault('cancelled', 'The client left.', { origin: 'lost' }));
  });
  return {
    callId: newId(),
    trace: traceOf(request.headers.traceparent),
    left: left.signal,
    address: clientAddress(request, trustedProxies),
    startedAt: performance.now(),
    route: 'none',
    principal: null,
  };
}

/** W3C Trace Context: the caller's trace with a span of our own; a new trace when there is none or it is malformed. */
function traceOf(header: string | string[] | undefined): Trace {
  const fresh = newTrace();
  const found = typeof header === 'string' ? /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}/.exec(header) : null;
  if (found === null || /^0+$/.test(found[1]!) || /^0+$/.test(found[2]!) || found[0].startsWith('ff')) return fresh;
  return { traceId: found[1]!, spanId: fresh.spanId };
}
