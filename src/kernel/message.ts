import type { z } from 'zod';
import type { Trace } from './call.ts';
import type { EpochMs } from './clock.ts';
import { requireJsonSafe } from './json-schema.ts';

/** Lanes are served strictly in this order, within a queue and between workspaces alike. */
export const LANES = ['urgent', 'normal', 'bulk'] as const;
export type Lane = (typeof LANES)[number];

export interface Backoff {
  readonly firstMs: number;
  readonly factor: number;
  readonly mostMs: number;
  /** 0 to 1: the share of each delay that is drawn at random. */
  readonly jitter: number;
}

export const DEFAULT_BACKOFF: Backoff = { firstMs: 1_000, factor: 2, mostMs: 3_600_000, jitter: 0.2 };

export interface MessageSettings<P> {
  /** Messages with the same key are handled one at a time, in the order of publishing. */
  readonly orderBy?: (payload: P) => string;
  /** Tries before the error queue, the first included. Default 12: with the default backoff about two hours. */
  readonly attempts?: number;
  readonly backoff?: Partial<Backoff>;
  readonly lane?: Lane;
  /** Top-level payload fields that hold personal data: redacted wherever staff browse a queue. */
  readonly personal?: readonly (keyof P & string)[];
}

export interface MessageDefinition<P> {
  readonly kind: 'event' | 'job';
  /** `<module>.<what>`: the module that publishes an event, or the one that works on a job. */
  readonly name: string;
  readonly schema: z.ZodType<P>;
  readonly settings: MessageSettings<P>;
}

/** A durable message that goes to every subscriber. */
export function event<P>(name: string, schema: z.ZodType<P>, settings: MessageSettings<P> = {}): MessageDefinition<P> {
  return define('event', name, schema, settings);
}

/** A durable message that goes to one worker. */
export function job<P>(name: string, schema: z.ZodType<P>, settings: MessageSettings<P> = {}): MessageDefinition<P> {
  return define('job', name, schema, settings);
}

function define<P>(kind: 'event' | 'job', name: string, schema: z.ZodType<P>, settings: MessageSettings<P>): MessageDefinition<P> {
  if (!/^[a-z]+\.[a-z-]+$/.test(name)) throw new TypeError(`Message name ${JSON.stringify(name)} must look like "module.what-happened".`);
  requireJsonSafe(schema, `message ${name}`);
  return { kind, name, schema, settings };
}

export interface PublishOptions {
  readonly workspace: string | null;
  /** The same id twice has one effect. Default: a new one. */
  readonly id?: string;
  readonly lane?: Lane;
  /** Not before this time. */
  readonly notBefore?: EpochMs;
  readonly trace?: Trace;
  /** Within a transaction: also while too many messages wait for the bus and new work is refused. For what tells of something that has happened already and cannot be taken back. */
  readonly always?: boolean;
}

/**
 * Publishes outside a transaction: resolves when the message is safely on disk, on the bus or, while that is away, on its way
 * there in the module's own database.
 * Faults: `exhausted` (backlog full; details.retryAfterMs), `unavailable`, `internal` (a payload that breaks its schema).
 */
export interface Publisher {
  publish<P>(message: MessageDefinition<P>, payload: P, options: PublishOptions): Promise<void>;
  /** The same for a payload that is JSON text already and has been checked by the caller. */
  publishJson(message: MessageDefinition<never> | MessageDefinition<any>, json: string, options: PublishOptions & { readonly key?: string }): Promise<void>;
}
export const Publisher = Symbol.for('multilith.Publisher');

/** What a handler is told beside the payload. */
export interface Received<P> {
  readonly id: string;
  readonly name: string;
  readonly workspace: string | null;
  readonly payload: P;
  readonly time: EpochMs;
  readonly trace: Trace;
  /** 1 at the first try. */
  readonly attempt: number;
  /** The last try before the error queue. */
  readonly last: boolean;
}
