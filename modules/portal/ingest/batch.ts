import { Fault } from '../../../src/kernel/fault.ts';
import type { Refused } from './job.ts';
import { mayHoldUnstorableText, problemOf, storable } from './plain-json.ts';
import { type CallType, type Envelope, readItem, type RefusalReason } from './wire-item.ts';

export const MOST_EVENTS = 2_500;
/** Of one item, as compact JSON in UTF-8. */
export const MOST_EVENT_BYTES = 32_768;

/** A request's body, parsed once; the text goes on to the disk as it is. */
export interface ParsedBody {
  readonly text: string;
  /** Of the text in UTF-8. */
  readonly bytes: number;
  readonly value: Readonly<Record<string, unknown>>;
}

/** What becomes of a body: the JSON text of `{batch, sentAt}` to keep, and what is left out of it. */
export interface CheckedBatch {
  /** Null when nothing is left. */
  readonly json: string | null;
  readonly accepted: number;
  readonly refused: readonly Refused[];
}

/** Faults `invalid`/`json_invalid`, `invalid`/`body_invalid`. */
export function parseBody({ text, bytes }: { readonly text: string; readonly bytes: number }): ParsedBody {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own words quote the body.
    throw new Fault('invalid', 'The body is not valid JSON.', { reason: 'json_invalid' });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Fault('invalid', 'The body must be a JSON object.', { reason: 'body_invalid' });
  return { text, bytes, value: value as Record<string, unknown> };
}

/**
 * Checks every item by itself. The text is kept as it came unless something has to go: refused items, the write key
 * where it is spelt in a way of its own, fields beside the batch that nobody could read, text that cannot be stored.
 * Faults `invalid`/`batch_missing`, `invalid`/`too_many_events`.
 */
export function checkBatch({ text, bytes, value }: ParsedBody, envelope: Envelope, writeKey: string): CheckedBatch {
  const items = envelope.type === null ? itemsOf(value) : [value];
  const unstorable = mayHoldUnstorableText(text);
  // No item is larger than the whole.
  const measured = bytes > MOST_EVENT_BYTES;
  const refused: Refused[] = [];
  const kept: unknown[] = [];
  items.forEach((raw, index) => {
    const reason = refusalOf(raw, envelope, measured);
    if (reason === undefined) kept.push(unstorable ? storable(raw) : raw);
    else refused.push(refusal(raw, index, reason));
  });
  if (kept.length === 0) return { json: null, accepted: 0, refused };
  const asItCame = refused.length === 0 && !unstorable && isReadable(value, envelope.type) && withoutSecret(text, value, writeKey);
  const json = asItCame === false ? rebuilt(kept, value, envelope) : envelope.type === null ? asItCame : `{"batch":[${asItCame}]}`;
  return { json, accepted: kept.length, refused };
}

function itemsOf(value: ParsedBody['value']): readonly unknown[] {
  if (!Array.isArray(value.batch)) throw new Fault('invalid', 'Give "batch", a list of items.', { reason: 'batch_missing' });
  if (value.batch.length > MOST_EVENTS) throw new Fault('invalid', `A batch may have ${MOST_EVENTS} items.`, { reason: 'too_many_events' });
  return value.batch;
}

function refusalOf(raw: unknown, envelope: Envelope, measured: boolean): RefusalReason | undefined {
  const result = readItem(raw, envelope);
  if (typeof result === 'string') return result;
  return measured && Buffer.byteLength(JSON.stringify(raw)) > MOST_EVENT_BYTES ? 'event_too_large' : undefined;
}

function refusal(raw: unknown, index: number, reason: RefusalReason): Refused {
  const { messageId, type } = typeof raw === 'object' && raw !== null ? (raw as Record<string, unknown>) : {};
  return { index, messageId: shortText(messageId, 255), type: shortText(type, 20), reason };
}

function shortText(value: unknown, longest: number): string | null {
  return typeof value === 'string' ? (storable(value.slice(0, longest)) as string) : null;
}

/** Whether every reader that comes after can take what stands beside the items. */
function isReadable(value: ParsedBody['value'], type: CallType | null): boolean {
  // A single item has been looked at as a whole.
  if (type !== null) return true;
  for (const name in value) if (name !== 'batch' && (name === '__proto__' || problemOf(value[name]) !== undefined)) return false;
  return true;
}

/** The text without the write key, which is not to lie on the disk; false when it cannot be cut out of the text. */
function withoutSecret(text: string, { writeKey: spelt }: ParsedBody['value'], writeKey: string): string | false {
  if (spelt !== undefined && (spelt !== writeKey || !text.includes(writeKey))) return false;
  return text.includes(writeKey) ? text.replaceAll(writeKey, '') : text;
}

function rebuilt(kept: readonly unknown[], value: ParsedBody['value'], envelope: Envelope): string {
  const { sentAt } = value;
  const batch = kept.map((item) => Object.fromEntries(Object.entries(item as object).filter(([name]) => name !== 'writeKey')));
  return JSON.stringify(envelope.type !== null || typeof sentAt !== 'string' ? { batch } : { batch, sentAt });
}
