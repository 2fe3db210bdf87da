import type { SQLInputValue } from 'node:sqlite';
import { portableText, unstorable } from '../shared/portable-values.ts';

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
  throw unstorable(value, where);
}

/** node:sqlite binds every number as REAL; whole ones go as INTEGER, so that '5' and 5/2 come out as everywhere. */
function exactNumber(value: number, where: string): number | bigint {
  if (Number.isSafeInteger(value)) return BigInt(value);
  if (Number.isFinite(value) && !Number.isInteger(value)) return value;
  throw unstorable(value, where);
}

function exactInteger(value: bigint, where: string): bigint {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) throw unstorable(value, where);
  return value;
}
