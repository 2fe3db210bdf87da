import type { z } from 'zod';
import type { Contract, Descriptor } from '../kernel/contract.ts';
import { Fault, type FaultCode, type Json } from '../kernel/fault.ts';

/** Faults that any call may answer with, whatever its contract declares. */
const UNIVERSAL_REASONS = new Set([
  'invalid', 'unauthenticated', 'denied', 'not_found', 'conflict', 'exhausted',
  'workspace_required', 'repeated', 'idempotency_key_reused', 'unique', 'foreign_key', 'not_null', 'check',
  'link_full', 'disk_full', 'memory', 'transactions_waiting',
]);
/** Codes that tell of the platform's state, not of the operation's business, with whatever reason. */
const UNIVERSAL_CODES: ReadonlySet<FaultCode> = new Set(['unavailable', 'deadline', 'cancelled', 'internal']);

/** The callee's side of a process border: what comes in and goes out of one operation is held against its contract. */
export interface Border {
  /** The request as the contract understands it. Fault `invalid` names every wrong field. */
  admit(request: unknown): unknown;
  /** Fault `internal` for an answer that the contract does not allow: a defect of the callee. */
  release(answer: unknown): unknown;
  /** A reason that the contract does not declare must not become part of the wire unseen: it leaves as `internal`. */
  declare(fault: Fault): Fault;
}

export function borderOf(contract: Contract<any>, method: string, { input, output, faults = [] }: Descriptor): Border {
  const operation = `${contract.name}.${method}`;
  const declared = new Set(faults);
  return {
    admit(request) {
      const parsed = input.safeParse(request);
      if (parsed.success) return parsed.data;
      throw new Fault('invalid', `The request to ${operation} is not what its contract asks for.`, { details: { problems: problemsOf(parsed.error) } });
    },
    release(answer) {
      const parsed = output.safeParse(answer);
      if (parsed.success) return parsed.data;
      const issues = problemsOf(parsed.error).map(({ field, message }) => `${field}: ${message}`);
      throw new Fault('internal', `${operation} answered what its contract does not allow.`, { cause: new TypeError(issues.join('; ')) });
    },
    declare(fault) {
      if (UNIVERSAL_CODES.has(fault.code) || UNIVERSAL_REASONS.has(fault.reason) || declared.has(fault.reason)) return fault;
      return new Fault('internal', `${operation} failed with the reason ${fault.reason}, which its contract does not declare.`, { origin: fault.origin, cause: fault });
    },
  };
}

function problemsOf(error: z.ZodError): { [key: string]: Json; field: string; message: string }[] {
  return error.issues.map((issue) => ({ field: issue.path.join('.'), message: issue.message }));
}
