import { newTrace } from '../kernel/call.ts';
import type { EpochMs } from '../kernel/clock.ts';
import { mustBe } from '../kernel/wording.ts';
import { Fault, type Json } from '../kernel/fault.ts';
import { newId } from '../kernel/ids.ts';
import type { MessageDefinition, PublishOptions } from '../kernel/message.ts';
import { DEFAULT_BACKOFF } from '../kernel/message.ts';
import type { Outgoing, QueueSettings } from '../ports/bus.ts';

/** The queue that holds what a module's handler of this message has to work on. */
export function queueName(message: MessageDefinition<any>, subscriber: string): string {
  return message.kind === 'job' ? message.name : `${subscriber}.${message.name}`;
}

const DEFAULT_ATTEMPTS = 12;

export function queueSettings(message: MessageDefinition<any>, subscriber: string): QueueSettings {
  const { orderBy, attempts, backoff, personal } = message.settings;
  return {
    name: queueName(message, subscriber),
    topics: message.kind === 'event' ? [message.name] : [],
    ordered: orderBy !== undefined,
    attempts: attempts ?? DEFAULT_ATTEMPTS,
    backoff: { ...DEFAULT_BACKOFF, ...backoff },
    delayMs: 0,
    personal: personal ?? [],
  };
}

/** Puts a payload in its envelope. The key comes from the message's own rule unless it is given. */
export function seal<P>(message: MessageDefinition<P>, payload: P, json: string | undefined, options: PublishOptions & { readonly key?: string }, now: EpochMs): Outgoing {
  const key = options.key ?? (json === undefined ? message.settings.orderBy?.(payload) : undefined) ?? null;
  return {
    id: options.id ?? newId(),
    name: message.name,
    to: message.kind === 'job' ? { queue: message.name } : { topic: message.name },
    workspace: options.workspace,
    key,
    lane: options.lane ?? message.settings.lane ?? 'normal',
    time: now,
    trace: options.trace ?? newTrace(),
    payload: json ?? JSON.stringify(payload),
    ...(options.notBefore === undefined ? {} : { notBefore: options.notBefore }),
  };
}

/**
 * @param code `invalid` for what arrives; `internal` for what a module of ours publishes: its own defect.
 * @throws Fault that names every wrong field, never its value: payloads hold personal data.
 */
export function requireValid<P>(message: MessageDefinition<P>, payload: unknown, code: 'invalid' | 'internal'): void {
  const parsed = message.schema.safeParse(payload, { error: mustBe });
  if (parsed.success) return;
  const problems: Json[] = parsed.error.issues.map((issue) => ({ field: issue.path.join('.'), message: issue.message }));
  throw new Fault(code, `The payload of ${message.name} is not what its schema asks for.`, { reason: code === 'invalid' ? 'payload_invalid' : 'internal', details: { problems } });
}
