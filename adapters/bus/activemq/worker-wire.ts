import { newTrace } from '../../../src/kernel/call.ts';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Lane } from '../../../src/kernel/message.ts';
import type { Incoming, Outgoing } from '../../../src/ports/bus.ts';
import type { Delivery, Frame } from './connection.ts';

/** Of what one frame may have at a broker with the shipped configuration (`wireFormat.maxFrameSize`), what is left for the payload. */
export const MOST_HANDED_BYTES = 4 * 1024 * 1024 - 64 * 1024;

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;
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

  work(queue: string): string {
    return `/queue/${this.#prefix}.work.${queue}`;
  }
}

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

/** What was sent in and cannot be taken, as it came, with the reason. */
export function refusedFrame({ headers, body }: Delivery, { code, reason, message }: Fault, addresses: Addresses): Frame {
  const { destination, id, name, workspace, key, lane, timestamp, traceparent, notBefore } = headers;
  const kept = Object.entries({ id, name, workspace, key, lane, traceparent, notBefore, 'sent-to': destination, 'sent-at': timestamp });
  return {
    destination: addresses.refused,
    headers: { ...Object.fromEntries(kept.filter((entry): entry is [string, string] => entry[1] !== undefined)), reason: encoded(`${code}/${reason}: ${message}`) },
    body,
  };
}

/** Why no worker can be given the payload; undefined when it can. */
export function unfit(payload: string): string | undefined {
  const bytes = Buffer.byteLength(payload);
  if (bytes > MOST_HANDED_BYTES) return `invalid/too_large: A worker can be given ${MOST_HANDED_BYTES} bytes; this payload has ${bytes}.`;
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
