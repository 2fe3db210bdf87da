import { type Actor, newTrace, type Trace } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { RemoteCall } from '../../../src/ports/transport.ts';
import { Arrived } from '../shared/arrived.ts';
import { DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS } from './limits.ts';

/** What is known of a call beside its request, as text: the headers of a single call, members of one in a batch. */
export interface CallFields {
  readonly id: string | undefined;
  readonly workspace: string | null;
  /** `kind:id` */
  readonly actor: string | undefined;
  /** As in the header `traceparent` of W3C Trace Context. */
  readonly traceparent: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly timeoutMs: number | undefined;
}

/** Whoever shows the secret and names nobody, e.g. an operator with curl. */
const DEFAULT_ACTOR: Actor = { kind: 'system', id: 'http' };
const KINDS: ReadonlySet<string> = new Set<Actor['kind']>(['user', 'api_key', 'source', 'recipient', 'system', 'anonymous']);
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}/;

/** @throws Fault `invalid` that names the field. */
export function arrivedOf(contract: string, method: string, request: unknown, fields: CallFields): Arrived {
  if (fields.workspace === '') throw badField('workspace', 'must not be empty; leave it out where the call is of the whole installation');
  // Else all who forget to fill it in would share one key.
  if (fields.idempotencyKey === '') throw badField('idempotencyKey', 'must not be empty; leave it out where the call is not to be repeated');
  return new Arrived({
    contract,
    method,
    request,
    id: fields.id ?? newId(),
    workspace: fields.workspace,
    actor: fields.actor === undefined ? DEFAULT_ACTOR : actorOf(fields.actor),
    trace: traceOf(fields.traceparent),
    idempotencyKey: fields.idempotencyKey,
    deadline: Date.now() + Math.min(fields.timeoutMs ?? DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS),
  });
}

export function actorText({ kind, id }: Actor): string {
  return `${kind}:${id}`;
}

function actorOf(text: string): Actor {
  const colon = text.indexOf(':');
  const kind = text.slice(0, colon);
  if (colon < 0 || !KINDS.has(kind)) throw badField('actor', `must be <kind>:<id> with one of the kinds ${[...KINDS].join(', ')}`);
  return { kind: kind as Actor['kind'], id: text.slice(colon + 1) };
}

export function traceparentOf({ traceId, spanId }: Trace): string {
  return `00-${traceId}-${spanId}-01`;
}

/** A new trace when there is none or it is malformed, as the recommendation asks. */
function traceOf(traceparent: string | undefined): Trace {
  const found = traceparent === undefined ? null : TRACEPARENT.exec(traceparent);
  return found === null ? newTrace() : { traceId: found[1]!, spanId: found[2]! };
}

/** What is left of a call's time, as it crosses; never negative. */
export function timeLeftMs({ deadline }: RemoteCall): number {
  return Math.min(Math.max(Math.ceil(deadline - Date.now()), 0), MAX_TIMEOUT_MS);
}

export function badField(name: string, problem: string): Fault {
  return new Fault('invalid', `The call's ${name} ${problem}.`, { reason: 'bad_call_field', details: { field: name }, origin: 'unsent' });
}
