import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { Attributes } from '../contract.ts';
import { eventTime, type TimeProblem } from './event-time.ts';
import { problemOf, type ValueProblem } from './plain-json.ts';

/*
 * The Segment wire format, one item of it (https://segment.com/docs/connections/spec/). Written by hand: a compiled
 * schema costs about the same, and could not say as clearly what is wrong.
 */

export const CALL_TYPES = ['identify', 'track', 'page', 'screen', 'group', 'alias'] as const;
export type CallType = (typeof CALL_TYPES)[number];

interface Common {
  /** Null when the sender gave none: then a repeat of it cannot be told from a second event. */
  readonly messageId: string | null;
  readonly userId: string | null;
  readonly anonymousId: string | null;
  readonly time: EpochMs;
}
export interface EventItem extends Common {
  readonly type: 'track' | 'page' | 'screen';
  readonly name: string;
  readonly properties: Attributes;
  readonly context: Attributes | null;
}
export interface IdentifyItem extends Common {
  readonly type: 'identify';
  readonly traits: Attributes;
}
export interface GroupItem extends Common {
  readonly type: 'group';
  readonly groupId: string;
  readonly traits: Attributes;
}
export interface AliasItem extends Common {
  readonly type: 'alias';
  readonly previousId: string;
}
export type WireItem = EventItem | IdentifyItem | GroupItem | AliasItem;

export type RefusalReason =
  | 'not_an_object'
  | 'type_unknown'
  | 'message_id_invalid'
  | 'user_id_invalid'
  | 'identity_missing'
  | 'event_name_missing'
  | 'event_name_invalid'
  | 'properties_invalid'
  | 'traits_invalid'
  | 'context_invalid'
  | 'group_id_missing'
  | 'previous_id_missing'
  | 'event_too_large'
  | TimeProblem
  | ValueProblem;

/** What stands for an item in the answer. */
export type ReadResult = WireItem | RefusalReason;

const LONGEST_ID = 255;
const LONGEST_NAME = 200;

type Raw = Readonly<Record<string, unknown>>;
const NOTHING: Attributes = Object.freeze({});

export interface Envelope {
  /** What the path says; null for a batch, whose items say it themselves. */
  readonly type: CallType | null;
  /** The batch's; an item's own comes second. */
  readonly sentAt: unknown;
  readonly receivedAt: EpochMs;
}

/** Reads one parsed item. Unknown fields are left alone. Total: any JSON value gives an item or a reason. */
export function readItem(raw: unknown, envelope: Envelope): ReadResult {
  if (!isObject(raw)) return 'not_an_object';
  const type = envelope.type ?? raw.type;
  if (typeof type !== 'string' || !(CALL_TYPES as readonly string[]).includes(type)) return 'type_unknown';
  const problem = problemOf(raw);
  if (problem !== undefined) return problem;
  const messageId = idOf(raw.messageId);
  if (messageId === false) return 'message_id_invalid';
  const userId = idOf(raw.userId);
  const anonymousId = idOf(raw.anonymousId);
  if (userId === false || anonymousId === false) return 'user_id_invalid';
  if (userId === null && (anonymousId === null || type === 'alias')) return 'identity_missing';
  const time = eventTime(raw.timestamp ?? raw.originalTimestamp, envelope.sentAt ?? raw.sentAt, envelope.receivedAt);
  if (typeof time === 'string') return time;
  return READERS[type as CallType](raw, { messageId, userId, anonymousId, time });
}

const READERS: Readonly<Record<CallType, (raw: Raw, common: Common) => ReadResult>> = {
  identify: readIdentify,
  track: (raw, common) => (raw.event === undefined || raw.event === null || raw.event === '' ? 'event_name_missing' : readEvent('track', raw.event, raw, common)),
  page: (raw, common) => readEvent('page', raw.name || raw.category || 'page', raw, common),
  screen: (raw, common) => readEvent('screen', raw.name || raw.category || 'screen', raw, common),
  group: readGroup,
  alias: readAlias,
};

function readEvent(type: EventItem['type'], name: unknown, raw: Raw, { messageId, userId, anonymousId, time }: Common): ReadResult {
  if (typeof name !== 'string' || name.length > LONGEST_NAME) return 'event_name_invalid';
  const properties = raw.properties ?? NOTHING;
  if (!isObject(properties)) return 'properties_invalid';
  const context = raw.context ?? null;
  if (context !== null && !isObject(context)) return 'context_invalid';
  return { type, messageId, userId, anonymousId, time, name, properties, context } as EventItem;
}

/** Some SDKs send a known person's traits in the context. */
function readIdentify(raw: Raw, { messageId, userId, anonymousId, time }: Common): ReadResult {
  const traits = raw.traits ?? (isObject(raw.context) ? raw.context.traits : undefined) ?? NOTHING;
  return isObject(traits) ? { type: 'identify', messageId, userId, anonymousId, time, traits: traits as Attributes } : 'traits_invalid';
}

function readGroup(raw: Raw, { messageId, userId, anonymousId, time }: Common): ReadResult {
  const groupId = idOf(raw.groupId);
  if (groupId === null || groupId === false) return 'group_id_missing';
  const traits = raw.traits ?? NOTHING;
  return isObject(traits) ? { type: 'group', messageId, userId, anonymousId, time, groupId, traits: traits as Attributes } : 'traits_invalid';
}

function readAlias(raw: Raw, { messageId, userId, anonymousId, time }: Common): ReadResult {
  const previousId = idOf(raw.previousId);
  if (previousId === null || previousId === false) return 'previous_id_missing';
  return { type: 'alias', messageId, userId, anonymousId, time, previousId };
}

/** Numbers are taken as their digits, as Segment takes them. Null for none, false for what is no id. */
export function idOf(value: unknown): string | null | false {
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : false;
  return typeof value === 'string' && value.length <= LONGEST_ID ? value : false;
}

export function isObject(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What each reason means, for the person who reads the answer. */
export const REFUSALS: Readonly<Record<RefusalReason, string>> = {
  not_an_object: 'An item must be a JSON object.',
  type_unknown: `"type" must be one of ${CALL_TYPES.join(', ')}.`,
  message_id_invalid: `"messageId" must be text of at most ${LONGEST_ID} characters.`,
  user_id_invalid: `"userId" and "anonymousId" must be text of at most ${LONGEST_ID} characters, or whole numbers.`,
  identity_missing: 'Give "userId" or "anonymousId" ("userId" for alias).',
  event_name_missing: 'Give "event", the name of what happened.',
  event_name_invalid: `An event's name must be text of at most ${LONGEST_NAME} characters.`,
  properties_invalid: '"properties" must be an object.',
  traits_invalid: '"traits" must be an object.',
  context_invalid: '"context" must be an object.',
  group_id_missing: 'Give "groupId".',
  previous_id_missing: 'Give "previousId".',
  event_too_large: 'An item may have 32 KB.',
  timestamp_invalid: '"timestamp" must be an ISO 8601 time such as 2026-11-21T09:00:00Z.',
  timestamp_out_of_range: '"timestamp" lies before the year 2000 or more than a day in the future; perhaps it is in seconds.',
  too_deep: 'Values may be nested 32 levels deep.',
  name_forbidden: 'A field may not be named "__proto__".',
  number_out_of_range: 'A number is larger than a 64-bit floating point number holds.',
};
