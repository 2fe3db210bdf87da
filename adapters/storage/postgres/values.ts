import { Fault } from '../../../src/kernel/fault.ts';
import { portableText, unstorable } from '../shared/portable-values.ts';

export type Bindable = string | number | bigint | Buffer | null;

/**
 * A value as PostgreSQL takes it, or a fault: `invalid` for text that no portable database holds, `internal` for what
 * is a mistake in the program. pg by itself would send an object as JSON and undefined as null.
 */
export function bindable(value: unknown, where: string): Bindable {
  switch (typeof value) {
    case 'string':
      return portableText(value, where);
    case 'number':
      if (Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))) return value;
      break;
    case 'boolean':
      return value ? 1 : 0;
    case 'bigint':
      if (value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER)) return value;
      break;
    case 'object':
      if (value === null) return null;
      if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  throw unstorable(value, where);
}

/** PostgreSQL's own numbers for its types (pg_type.oid). */
const OID = { BOOL: 16, BYTEA: 17, INT8: 20, INT2: 21, INT4: 23, FLOAT4: 700, FLOAT8: 701, NUMERIC: 1700 } as const;

const READERS: Readonly<Record<number, (text: string) => unknown>> = {
  // Yes and no are 1 and 0 on every adapter, an expression's too.
  [OID.BOOL]: (text) => (text === 't' ? 1 : 0),
  [OID.BYTEA]: (text) => Buffer.from(text.slice(2), 'hex'),
  [OID.INT2]: Number,
  [OID.INT4]: Number,
  [OID.INT8]: exactNumber,
  [OID.FLOAT4]: Number,
  [OID.FLOAT8]: Number,
  // Sums of whole numbers.
  [OID.NUMERIC]: exactNumber,
};

const asText = (text: string): unknown => text;

/** How columns come back; everything but numbers and bytes is text. */
export const types = { getTypeParser: (oid: number): any => READERS[oid] ?? asText };

function exactNumber(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) throw new Fault('internal', 'The database holds a whole number beyond 2^53.', { reason: 'unsafe_integer' });
  return value;
}
