import { newTrace } from '../../../src/kernel/call.ts';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Lane, LANES } from '../../../src/kernel/message.ts';
import type { Incoming, Outgoing } from '../../../src/ports/bus.ts';
import type { Delivery, Frame } from './connection.ts';

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;
/** The broker refuses a header of 10 KB by ending the connection, and a character may take three bytes, or nine when it is written as in a URL. */
const HEADER_CHARACTERS = 3_000;
const REASON_CHARACTERS = 1_000;
/** The broker takes 4 MB (`maxFrameSize`) and ends the connection by a larger frame; the headers get the rest. */
const BODY_BYTES = 4_000_000;
/** What a queue may be called that is kept for. In the name of a destination `*` and `>` mean many, and a comma and a question mark more than the name. */
const QUEUE_NAME = /^[\w.-]{1,255}$/;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Where programs of other languages meet a deployment (docs/workers.md). */
export class Addresses {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  get jobs(): string {
    return `/queue/${this.#prefix}.in.`;
  }

  get events(): string {
    return `/queue/${this.#prefix}.event.`;
  }

  get done(): string {
    return `/queue/${this.#prefix}.done`;
  }

  get refused(): string {
    return `/queue/${this.#prefix}.refused`;
  }

  /** What was sent in for a queue that nobody has declared yet. */
  undeclared(queue: string): string {
    return `/queue/${this.#prefix}.undeclared.${queue}`;
  }

  work(queue: string): string {
    return `/queue/${this.#prefix}.work.${queue}`;
  }
}

const text = (description: string, more: object = {}): object => ({ type: 'string', description, ...more });

const ID = text('The same id may come again: have its effect once.');
const WORKSPACE = text('The tenant; left out for messages of none.');
const TRACE = text('W3C Trace Context.', { pattern: TRACEPARENT.source });
const NUMBER = '^[0-9]+$';

/** JSON Schema (draft 7) of the headers of what programs send in. */
export const SENT_HEADERS: Readonly<Record<string, unknown>> = {
  type: 'object',
  properties: {
    id: text('Under one id a message is stored once while it is there. Default: the message-id that the broker gives it.'),
    name: text("The message's name. Default: the queue or event that it is sent to."),
    workspace: WORKSPACE,
    key: text('Messages of one key are handed out one at a time, in the order of publishing, where the queue is ordered.'),
    lane: text('Served strictly in this order.', { enum: LANES, default: 'normal' }),
    notBefore: text('Not handed out before; milliseconds since 1970.', { pattern: NUMBER }),
    traceparent: TRACE,
    persistent: text('Without it the broker loses the message when it stops.', { const: 'true' }),
  },
};

/** JSON Schema (draft 7) of the headers of what workers are given. */
export const WORK_HEADERS: Readonly<Record<string, unknown>> = {
  type: 'object',
  required: ['id', 'hand', 'queue', 'name', 'lane', 'attempt', 'time', 'traceparent'],
  properties: {
    id: ID,
    hand: text('This handing out, and no other: what the answer names.'),
    queue: text('The queue.'),
    name: text("The event's or job's name."),
    workspace: WORKSPACE,
    key: text('What order is kept by; left out where there is none.'),
    lane: text('How urgent it is.', { enum: LANES }),
    attempt: text('1 at the first try.', { pattern: NUMBER }),
    time: text('When it was published; milliseconds since 1970.', { pattern: NUMBER }),
    traceparent: TRACE,
  },
};

/** JSON Schema (draft 7) of the headers of answers. */
export const ANSWER_HEADERS: Readonly<Record<string, unknown>> = {
  type: 'object',
  required: ['hand', 'outcome'],
  properties: {
    hand: text("The message's."),
    outcome: text('done; retry: again after a pause; dead: to the error queue; working: not yet done, the time begins anew.', { enum: ['done', 'retry', 'dead', 'working'] }),
    persistent: text('Without it the broker loses the answer when it stops.', { const: 'true' }),
  },
};

/** JSON Schema (draft 7) of what is added to the headers of a message that could not be taken. */
export const REFUSED_HEADERS: Readonly<Record<string, unknown>> = {
  type: 'object',
  required: ['reason', 'sent-to', 'sent-at'],
  properties: {
    reason: text('Why: code/reason: words.'),
    'sent-to': text('The address that it was sent to.'),
    'sent-at': text('When the broker got it; milliseconds since 1970.', { pattern: NUMBER }),
  },
};

/** What a program has sent in. The broker's own name for it is its id where it has none, so that the same delivery twice is stored once. Faults: `invalid`. */
export function outgoingOf({ headers, body }: Delivery, addresses: Addresses, now: EpochMs): Outgoing {
  const { destination = '', timestamp, traceparent, notBefore, lane } = headers;
  const isEvent = destination.startsWith(addresses.events);
  const to = destination.slice((isEvent ? addresses.events : addresses.jobs).length);
  const trace = TRACEPARENT.exec(traceparent ?? '');
  return {
    id: decoded('id', headers) ?? headers['message-id']!,
    name: isEvent ? to : (decoded('name', headers) ?? to),
    to: isEvent ? { topic: to } : { queue: to },
    workspace: decoded('workspace', headers),
    key: decoded('key', headers),
    // The bus says itself what is wrong with it.
    lane: (lane || 'normal') as Lane,
    time: Number(timestamp) || now,
    trace: trace === null ? newTrace() : { traceId: trace[1]!, spanId: trace[2]! },
    ...(notBefore ? { notBefore: Number(notBefore) } : {}),
    payload: textOf(body),
  };
}

/** What a worker is given; `hand` stands for this handing out, and no other. */
export function workFrame(message: Incoming, hand: string, addresses: Addresses): Frame {
  const { queue, id, name, workspace, key, lane, attempt, time, trace, payload } = message;
  return {
    destination: addresses.work(queue),
    headers: {
      hand, queue, id: encoded(id), name: encoded(name), lane, attempt: String(attempt), time: String(time), traceparent: `00-${trace.traceId}-${trace.spanId}-01`, 'content-type': 'application/json',
      ...(workspace === null ? {} : { workspace: encoded(workspace) }), ...(key === null ? {} : { key: encoded(key) }),
    },
    body: Buffer.from(payload),
  };
}

/** What was sent in and cannot be taken, as it came but for long headers and a body that leaves them no room, which are cut, with the reason. */
export function refusedFrame({ headers, body }: Delivery, { code, reason, message }: Fault, addresses: Addresses): Frame {
  const { destination, id, name, workspace, key, lane, timestamp, traceparent, notBefore } = headers;
  const kept = Object.entries({ id, name, workspace, key, lane, traceparent, notBefore, 'sent-to': destination, 'sent-at': timestamp });
  return {
    destination: addresses.refused,
    headers: {
      ...Object.fromEntries(kept.flatMap(([header, value]) => (value === undefined ? [] : [[header, value.slice(0, HEADER_CHARACTERS)]]))),
      reason: encoded(`${code}/${reason}: ${message}`.slice(0, REASON_CHARACTERS)),
    },
    body: body.subarray(0, BODY_BYTES),
  };
}

/** What was sent in for a queue that is not there, under the id that it has: for the time when it is. Undefined where there can be no queue of that name, or its headers may be longer than the broker takes. */
export function undeclaredFrame({ headers, body }: Delivery, queue: string, addresses: Addresses): Frame | undefined {
  if (!QUEUE_NAME.test(queue)) return undefined;
  const { destination, name, workspace, key, lane, timestamp, traceparent, notBefore } = headers;
  const kept = Object.entries({ id: headers.id || headers['message-id'], name, workspace, key, lane, traceparent, notBefore, 'sent-to': destination, 'sent-at': timestamp }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return kept.some(([, value]) => value.length > HEADER_CHARACTERS) ? undefined : { destination: addresses.undeclared(queue), headers: Object.fromEntries(kept), body };
}

/** As it was sent in. */
export function asSentIn({ headers: { 'sent-to': destination = '', 'sent-at': timestamp = '', ...headers }, body, token }: Delivery): Delivery {
  return { headers: { ...headers, destination, timestamp }, body, token };
}

/** Why no worker can be given the payload; undefined when it can. */
export function unfit(payload: string): string | undefined {
  try {
    JSON.parse(payload);
    return undefined;
  } catch {
    return 'invalid/payload_invalid: The payload is not JSON.';
  }
}

/** Headers are ASCII on this wire: anything else, and the percent sign, is written as in a URL. */
function encoded(text: string): string {
  return text.toWellFormed().replaceAll(/[^\x20-\x24\x26-\x7e]/gu, (character) => [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''));
}

function decoded(name: string, headers: Readonly<Record<string, string>>): string | null {
  const text = headers[name];
  if (!text) return null;
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Fault('invalid', `The header ${name} has a percent sign that begins no byte; write it as %25.`, { reason: 'header_invalid' });
  }
}

function textOf(body: Buffer): string {
  try {
    return utf8.decode(body);
  } catch {
    throw new Fault('invalid', 'The body is not UTF-8.', { reason: 'payload_invalid' });
  }
}
