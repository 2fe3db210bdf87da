import type { SQLInputValue } from 'node:sqlite';
import { Fault } from '../../../src/kernel/fault.ts';

/**
 * A value as SQLite takes it, or a fault: `invalid` for text that no portable database holds, `internal` for what is
 * a mistake in the program. node:sqlite by itself would store a Date or NaN as NULL, 5 in a text column as '5.0', and
 * half a surrogate pair as U+FFFD.
 */
export function bindable(value: unknown, where: string): SQLInputValue {
  switch (typeof value) {
    case 'string':
      return portableText(value, where);
    case 'number':
      return exactNumber(value, where);
    case 'boolean':
      return value ? 1n : 0n;
    case 'bigint':
      return exactInteger(value, where);
    case 'object':
      if (value === null) return null;
      if (ArrayBuffer.isView(value)) return value as NodeJS.ArrayBufferView;
  }
  throw mistake(where, value === undefined ? 'is undefined; give a value or null' : `is ${kindOf(value)}; bind text, a number, a boolean, bytes or null`);
}

/** PostgreSQL refuses U+0000 in text; UTF-8 has no form for half a surrogate pair. JSON text escapes both. */
function portableText(value: string, where: string): string {
  if (!value.isWellFormed() || value.includes('\0')) {
    throw new Fault('invalid', `Text for ${where} holds ${value.includes('\0') ? 'the character U+0000' : 'half a surrogate pair'}, which cannot be stored.`, { reason: 'unstorable_text' });
  }
  return value;
}

/** node:sqlite binds every number as REAL; whole ones go as INTEGER, so that '5' and 5/2 come out as everywhere. */
function exactNumber(value: number, where: string): number | bigint {
  if (Number.isSafeInteger(value)) return BigInt(value);
  if (Number.isFinite(value) && !Number.isInteger(value)) return value;
  throw mistake(where, `is ${Number.isInteger(value) ? 'a whole number beyond 2^53' : String(value)}`);
}

function exactInteger(value: bigint, where: string): bigint {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) throw mistake(where, 'is a whole number beyond 2^53');
  return value;
}

function kindOf(value: unknown): string {
  return value instanceof Date ? 'a Date; bind epoch milliseconds' : typeof value === 'object' ? 'an object; bind JSON text' : `a ${typeof value}`;
}

function mistake(where: string, what: string): Fault {
  return new Fault('internal', `The value for ${where} ${what}.`, { reason: 'unstorable_value' });
}
