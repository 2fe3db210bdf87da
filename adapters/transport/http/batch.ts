import { Fault } from '../../../src/kernel/fault.ts';
import type { Answer, RemoteCall } from '../../../src/ports/transport.ts';
import type { Arrived } from '../shared/arrived.ts';
import { actorText, arrivedOf, badField, timeLeftMs, traceparentOf } from './call-fields.ts';
import { MAX_BATCH_CALLS } from './limits.ts';
import { recordOf } from './problem.ts';

export const BATCH_ANSWER_TYPE = 'application/x-ndjson';

/** One call of a batch as JSON text, around the text of its request. */
export function entryText(call: RemoteCall, request: string): string {
  const { contract, method, id, workspace, actor, trace, idempotencyKey } = call;
  const fields = JSON.stringify({ contract, method, id, workspace, actor: actorText(actor), traceparent: traceparentOf(trace), idempotencyKey, timeoutMs: timeLeftMs(call) });
  return `${fields.slice(0, -1)},"request":${request}}`;
}

/** @throws Fault `invalid` when it is no list, or too long a one. */
export function entriesOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value) || value.length === 0) throw bad('A batch is a list of calls, with at least one. For a single call POST to /contract/<module>/<method>.');
  if (value.length > MAX_BATCH_CALLS) throw bad(`A batch holds at most ${MAX_BATCH_CALLS} calls, this one ${value.length}. Send several.`);
  return value;
}

/** @throws Fault `invalid` that names the member; the other calls of the batch are none the worse. */
export function arrivedOfEntry(entry: unknown): Arrived {
  if (typeof entry !== 'object' || entry === null) throw bad('Each call of a batch is an object with contract, method and request.');
  const { contract, method, request = null, id, workspace, actor, traceparent, idempotencyKey, timeoutMs } = entry as Record<string, unknown>;
  if (contract === undefined || method === undefined) throw bad('Each call of a batch names its contract and its method.');
  return arrivedOf(text('contract', contract)!, text('method', method)!, request, {
    id: text('id', id),
    workspace: text('workspace', workspace) ?? null,
    actor: text('actor', actor),
    traceparent: text('traceparent', traceparent),
    idempotencyKey: text('idempotencyKey', idempotencyKey),
    timeoutMs: number('timeoutMs', timeoutMs),
  });
}

/** The answer to the n-th call of a batch, from 0, as a line without its end. `value` is JSON text. */
export function valueLine(n: number, value: string): string {
  return `{"n":${n},"value":${value}}`;
}

export function faultLine(n: number, fault: string): string {
  return `{"n":${n},"fault":${fault}}`;
}

/** Undefined when it is no such line. */
export function answerOfLine(line: string): { readonly n: number; readonly answer: Answer } | undefined {
  let parsed: { n?: unknown; value?: unknown; fault?: unknown } | null;
  try {
    parsed = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null || typeof parsed.n !== 'number') return undefined;
  if (Object.hasOwn(parsed, 'value')) return { n: parsed.n, answer: { value: parsed.value } };
  const fault = recordOf(parsed.fault);
  return fault && { n: parsed.n, answer: { fault } };
}

function text(name: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw badField(name, 'must be a text');
  return value;
}

function number(name: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !(value >= 0)) throw badField(name, 'must be a number of milliseconds, 0 or more');
  return value;
}

function bad(message: string): Fault {
  return new Fault('invalid', message, { reason: 'bad_batch', origin: 'unsent' });
}
