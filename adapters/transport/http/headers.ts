import type { IncomingHttpHeaders } from 'node:http';
import type { RemoteCall } from '../../../src/ports/transport.ts';
import { actorText, badField, type CallFields, timeLeftMs, traceparentOf } from './call-fields.ts';

export const BATCH_HEADER = 'multilith-batch';
const TIMEOUT = 'multilith-timeout-ms';
const WORKSPACE = 'multilith-workspace';
const ACTOR = 'multilith-actor';
const CALL_ID = 'multilith-call-id';
const IDEMPOTENCY_KEY = 'idempotency-key';

const PLAIN = /^[\w.~:@-]*$/;
/** Four of them, nine times as long when percent-encoded, still fit into the headers that a host takes. */
const MAX_TEXT_LENGTH = 300;

/**
 * Names and values in turn, as undici takes them, after the `common` ones; texts are percent-encoded where they are not plain. Undefined when a
 * text is too long for a header, or is no Unicode that could be encoded: such a call goes as a batch of one.
 */
export function headersOf(call: RemoteCall, common: readonly string[]): string[] | undefined {
  const { id, actor, workspace, idempotencyKey } = call;
  const headers = [...common, TIMEOUT, String(timeLeftMs(call)), 'traceparent', traceparentOf(call.trace)];
  const complete = add(headers, CALL_ID, id) && add(headers, ACTOR, actorText(actor)) && add(headers, WORKSPACE, workspace) && add(headers, IDEMPOTENCY_KEY, idempotencyKey);
  return complete ? headers : undefined;
}

function add(headers: string[], name: string, text: string | null | undefined): boolean {
  if (text === null || text === undefined) return true;
  if (text.length > MAX_TEXT_LENGTH) return false;
  if (PLAIN.test(text)) headers.push(name, text);
  else if (text.isWellFormed()) headers.push(name, encodeURIComponent(text));
  else return false;
  return true;
}

/** What is absent is undefined, the workspace null. @throws Fault `invalid` that names the header. */
export function fieldsOf(headers: IncomingHttpHeaders): CallFields {
  return {
    id: decoded(headers, CALL_ID),
    workspace: decoded(headers, WORKSPACE) ?? null,
    actor: decoded(headers, ACTOR),
    traceparent: headers['traceparent'] as string | undefined,
    idempotencyKey: decoded(headers, IDEMPOTENCY_KEY),
    timeoutMs: timeoutOf(headers[TIMEOUT] as string | undefined),
  };
}

function decoded(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name] as string | undefined;
  if (value === undefined || !value.includes('%')) return value;
  try {
    return decodeURIComponent(value);
  } catch {
    throw badField(name, 'is not percent-encoded UTF-8');
  }
}

function timeoutOf(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (!/^\d{1,15}$/.test(value)) throw badField(TIMEOUT, 'must be a whole number of milliseconds, 0 or more');
  return Number(value);
}
