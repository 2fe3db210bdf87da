import { Fault, FAULT_STATUS } from '../../../src/kernel/fault.ts';

/** Where HTTP knows a better status than the code's own. */
const STATUS_BY_REASON: Readonly<Record<string, number>> = {
  method_not_allowed: 405,
  body_timeout: 408,
  version_changed: 412,
  body_too_large: 413,
  content_type_not_supported: 415,
  idempotency_key_reused: 422,
};

export function statusOf(fault: Fault): number {
  return STATUS_BY_REASON[fault.reason] ?? FAULT_STATUS[fault.code];
}

/** RFC 9457. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly reason: string;
  readonly callId: string;
  readonly errors?: unknown;
  readonly details?: unknown;
}

const TITLES: Readonly<Record<Fault['code'], string>> = {
  invalid: 'The request is not valid',
  unauthenticated: 'Not logged in',
  denied: 'Not allowed',
  not_found: 'Not found',
  conflict: 'Conflict with the present state',
  exhausted: 'Too much at once',
  cancelled: 'Cancelled',
  internal: 'Something went wrong on our side',
  unavailable: 'Not available now',
  deadline: 'Took too long',
};

/** The answer that tells of a fault. `errors` of the details moves to the top, where RFC 9457's own example has it. */
export function problemOf(fault: Fault, callId: string): Problem {
  const { errors, ...details } = fault.details;
  return {
    type: `urn:multilith:problem:${fault.reason}`,
    title: TITLES[fault.code],
    status: statusOf(fault),
    detail: fault.message,
    code: fault.code,
    reason: fault.reason,
    callId,
    ...(errors === undefined ? {} : { errors }),
    ...(Object.keys(details).length === 0 ? {} : { details }),
  };
}

/** What goes with a fault beside its body. */
export function headersOf(fault: Fault): Record<string, string> {
  const headers: Record<string, string> = {};
  const { retryAfterMs, allow } = fault.details;
  if (typeof retryAfterMs === 'number') headers['Retry-After'] = String(Math.max(Math.ceil(retryAfterMs / 1_000), 1));
  if (typeof allow === 'string') headers['Allow'] = allow;
  if (fault.code === 'unauthenticated') headers['WWW-Authenticate'] = 'Bearer realm="multilith"';
  return headers;
}
