import type { Contract, Descriptor } from '../kernel/contract.ts';
import { Fault, type FaultRecord, type Json } from '../kernel/fault.ts';
import type { z } from 'zod';

/** Faults that any call may answer with, whatever its contract declares. */
const UNIVERSAL_REASONS = new Set([
  'invalid', 'unauthenticated', 'denied', 'not_found', 'conflict', 'exhausted', 'deadline', 'cancelled', 'unavailable', 'internal',
  'workspace_required', 'not_running', 'unique', 'foreign_key', 'not_null', 'check',
]);

/** What crosses a process border: the request and the answer as JSON text, checked against the contract on arrival. */
export interface Codec {
  encodeRequest(request: unknown): string;
  /** Frozen, so that a callee which writes into its request is found out. Fault `invalid` names every wrong field. */
  decodeRequest(text: string): unknown;
  encodeAnswer(answer: unknown): string;
  decodeAnswer(text: string): unknown;
  encodeFault(fault: Fault): string;
  decodeFault(text: string): Fault;
}

export function codecOf(contract: Contract<any>, method: string, descriptor: Descriptor): Codec {
  const operation = `${contract.name}.${method}`;
  const declared = new Set(descriptor.faults ?? []);
  return {
    encodeRequest: (request) => JSON.stringify(request),
    decodeRequest: (text) => deepFreeze(check(descriptor.input, JSON.parse(text), () => invalidRequest(operation, descriptor.input, text))),
    encodeAnswer: (answer) => JSON.stringify(check(descriptor.output, answer, (issues) => new Fault('internal', `${operation} answered what its contract does not allow.`, { cause: new TypeError(issues) }))),
    decodeAnswer: (text) => JSON.parse(text) as unknown,
    encodeFault: (fault) => JSON.stringify(declaredOnly(fault, operation, declared).toRecord()),
    decodeFault: (text) => Fault.fromRecord(JSON.parse(text) as FaultRecord),
  };
}

function check(schema: z.ZodType, value: unknown, refuse: (issues: string) => Fault): unknown {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw refuse(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  return parsed.data;
}

function invalidRequest(operation: string, schema: z.ZodType, text: string): Fault {
  const result = schema.safeParse(JSON.parse(text));
  const problems: Json[] = result.success ? [] : result.error.issues.map((issue) => ({ field: issue.path.join('.'), message: issue.message }));
  return new Fault('invalid', `The request to ${operation} is not what its contract asks for.`, { details: { problems } });
}

/** A reason that the contract does not declare is a defect of the callee; it must not become part of the wire unseen. */
function declaredOnly(fault: Fault, operation: string, declared: ReadonlySet<string>): Fault {
  if (declared.has(fault.reason) || UNIVERSAL_REASONS.has(fault.reason)) return fault;
  return new Fault('internal', `${operation} failed with the reason ${fault.reason}, which its contract does not declare.`, { cause: fault });
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
