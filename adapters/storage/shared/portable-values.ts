import { Fault } from '../../../src/kernel/fault.ts';

/*
 * What every storage adapter refuses to bind, whatever its database would make of it: the same program finds the same
 * faults on each.
 */

/** PostgreSQL refuses U+0000 in text; UTF-8 has no form for half a surrogate pair. JSON text escapes both. */
export function portableText(value: string, where: string): string {
  if (!value.isWellFormed() || value.includes('\0')) {
    throw new Fault('invalid', `Text for ${where} holds ${value.includes('\0') ? 'the character U+0000' : 'half a surrogate pair'}, which cannot be stored.`, { reason: 'unstorable_text' });
  }
  return value;
}

/** A mistake in the program: a number that is none or not exact, or a value of a kind that no column holds. */
export function unstorable(value: unknown, where: string): Fault {
  return new Fault('internal', `The value for ${where} ${whatIsWrong(value)}.`, { reason: 'unstorable_value' });
}

function whatIsWrong(value: unknown): string {
  if (value === undefined) return 'is undefined; give a value or null';
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) return 'is a whole number beyond 2^53';
  if (typeof value === 'number') return `is ${value}`;
  return `is ${kindOf(value)}; bind text, a number, a boolean, bytes or null`;
}

function kindOf(value: unknown): string {
  return value instanceof Date ? 'a Date; bind epoch milliseconds' : typeof value === 'object' ? 'an object; bind JSON text' : `a ${typeof value}`;
}
