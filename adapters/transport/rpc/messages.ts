import type { Actor } from '../../../src/kernel/call.ts';
import { FAULT_STATUS, type FaultRecord } from '../../../src/kernel/fault.ts';
import { WireError } from './frames.ts';

/*
 * The messages, each an array whose first element is its type. A value crosses as a value, or as its JSON text (the
 * types with _TEXT) where records cannot carry it. See docs/wire.md.
 */
export const CALL = 1;
export const CALL_TEXT = 2;
export const ANSWER = 3;
export const ANSWER_TEXT = 4;
export const FAULT = 5;
export const CANCEL = 6;
export const PING = 7;
export const PONG = 8;
export const GO_AWAY = 9;
export const DESCRIBE = 10;

export type Message = readonly unknown[];

/** Positions in a CALL. */
export const AT = { number: 1, leftMs: 2, contract: 3, method: 4, id: 5, workspace: 6, actorKind: 7, actorId: 8, traceId: 9, spanId: 10, key: 11, request: 12 } as const;
const ACTOR_KINDS: readonly unknown[] = ['user', 'api_key', 'source', 'recipient', 'system', 'anonymous'] satisfies Actor['kind'][];

/** @throws WireError for what is no call: the sender is not what it says it is. */
export function requireCall(message: Message): void {
  const sound =
    isWhole(message[AT.number]) && isWhole(message[AT.leftMs]) &&
    typeof message[AT.contract] === 'string' && typeof message[AT.method] === 'string' && typeof message[AT.id] === 'string' &&
    isTextOrNull(message[AT.workspace]) && ACTOR_KINDS.includes(message[AT.actorKind]) && typeof message[AT.actorId] === 'string' &&
    typeof message[AT.traceId] === 'string' && typeof message[AT.spanId] === 'string' && isTextOrNull(message[AT.key]) && message.length === AT.request + 1;
  if (!sound) throw new WireError('It sent a call that is none.');
}

export function numberOf(message: Message): number {
  const number = message[1];
  if (!isWhole(number)) throw new WireError('It sent a message without a number.');
  return number;
}

/** A FAULT is [type, number, code, reason, message, origin, details as JSON text], and 1 when it is spent. */
export function faultRecordOf(message: Message): FaultRecord {
  const [, , code, reason, text, origin, details, spent] = message as [number, number, FaultRecord['code'], string, string, FaultRecord['origin'], string, number?];
  const sound = Object.hasOwn(FAULT_STATUS, code) && typeof reason === 'string' && typeof text === 'string' && (origin === 'reply' || origin === 'unsent' || origin === 'lost');
  if (!sound) throw new WireError('It sent a fault that is none.');
  return { code, reason, message: text, details: parse(details) as FaultRecord['details'], origin, ...(spent === 1 ? { spent: true } : {}) };
}

/** The value of a message that carries JSON text. */
export function parse(text: unknown): unknown {
  try {
    return JSON.parse(text as string);
  } catch {
    throw new WireError('It sent a text that is not JSON.');
  }
}

function isWhole(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isSafeInteger(value);
}

function isTextOrNull(value: unknown): boolean {
  return typeof value === 'string' || value === null;
}
