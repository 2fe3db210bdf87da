import { FAULT_STATUS, type FaultDetails, type FaultRecord } from '../../../src/kernel/fault.ts';

/** Where HTTP knows a better status than the code's own. */
const STATUS_BY_REASON: Readonly<Record<string, number>> = {
  method_not_allowed: 405,
  request_timeout: 408,
  request_too_large: 413,
  content_type_not_supported: 415,
  headers_too_large: 431,
};
const TITLES: Readonly<Record<FaultRecord['code'], string>> = {
  invalid: 'The request is not valid',
  unauthenticated: 'Without the secret',
  denied: 'Not allowed',
  not_found: 'Not found',
  conflict: 'Conflict with the present state',
  exhausted: 'Too much at once',
  cancelled: 'Cancelled',
  internal: 'Something went wrong on our side',
  unavailable: 'Not available now',
  deadline: 'Took too long',
};
export const PROBLEM_TYPE = 'application/problem+json';
const URN = 'urn:multilith:problem:';

/** RFC 9457 problem details that hold the whole record of the fault as members of their own. */
export interface Problem extends FaultRecord {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
}

export function problemOf(record: FaultRecord): Problem {
  const { code, reason, message } = record;
  return { type: URN + reason, title: TITLES[code], status: statusOf(record), detail: message, ...record };
}

export function statusOf({ code, reason }: FaultRecord): number {
  return (Object.hasOwn(STATUS_BY_REASON, reason) ? STATUS_BY_REASON[reason] : undefined) ?? FAULT_STATUS[code];
}

/** The record that a problem carries; undefined when somebody else's program, e.g. a proxy, wrote it. */
export function recordOfProblem(problem: unknown): FaultRecord | undefined {
  const { type } = (problem ?? {}) as { type?: unknown };
  return typeof type === 'string' && type.startsWith(URN) ? recordOf(problem) : undefined;
}

/** The record when it is one, without anything that does not belong to it. */
export function recordOf(value: unknown): FaultRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { code, reason, message, details, origin, spent } = value as Record<keyof FaultRecord, unknown>;
  if (typeof code !== 'string' || !Object.hasOwn(FAULT_STATUS, code)) return undefined;
  if (typeof reason !== 'string' || typeof message !== 'string') return undefined;
  if (typeof details !== 'object' || details === null || Array.isArray(details)) return undefined;
  if (origin !== 'reply' && origin !== 'unsent' && origin !== 'lost') return undefined;
  return { code: code as FaultRecord['code'], reason, message, details: details as FaultDetails, origin, ...(spent === true ? { spent } : {}) };
}
