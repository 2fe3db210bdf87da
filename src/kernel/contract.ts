import type { z } from 'zod';
import type { Call } from './call.ts';
import { hashOf, jsonSchemaOf, requireJsonSafe } from './json-schema.ts';
import type { MessageDefinition } from './message.ts';

/** What a signature cannot say about an operation. */
interface Operation<I, O> {
  readonly input: z.ZodType<I>;
  readonly output: z.ZodType<O>;
  /** The most that a caller waits; a nearer deadline of the call wins. */
  readonly timeoutMs: number;
  /** Every reason that this operation may answer with, beside those that any call may (`deadline`, `cancelled`, …). */
  readonly faults?: readonly string[];
}

/**
 * May be given where the answer depends on the workspace and the request alone, not on who asks, and never changes
 * without an event of `dropOn` or within `ttlMs`. Faults are not kept, nor answers to calls without a workspace.
 */
export interface CacheRule<I> {
  /** How old an answer may be while the callee is healthy. */
  readonly ttlMs: number;
  /** How long after `ttlMs` an answer may still be given while the callee cannot be reached. Default 0: a fault instead. */
  readonly staleIfErrorMs?: number;
  /** Names the entry. Requests that ask different things under one key are not mixed up, but push each other out. */
  readonly keyBy: (request: I) => string;
  /** Which events drop which entries: see `outdatedBy`. */
  readonly dropOn?: readonly DropRule[];
}

/** Made by `outdatedBy`. */
export interface DropRule {
  /** The event's name. */
  readonly event: string;
  readonly keyOf: (payload: unknown) => string;
}

/** When the event arrives, the entry of its workspace with the key that `keyOf` names is dropped on every host. */
export function outdatedBy<P>({ name }: MessageDefinition<P>, keyOf: (payload: P) => string): DropRule {
  return { event: name, keyOf: keyOf as DropRule['keyOf'] };
}

/** A call that reads. May be repeated at will. */
export interface Query<I, O> extends Operation<I, O> {
  readonly kind: 'query';
  readonly cache?: CacheRule<I>;
}

/** A call that changes. Repeated only with an idempotency key. */
export interface Command<I, O> extends Operation<I, O> {
  readonly kind: 'command';
}

export type Descriptor<I = any, O = any> = Query<I, O> | Command<I, O>;

export function query<I, O>(operation: Omit<Query<I, O>, 'kind'>): Query<I, O> {
  return { kind: 'query', ...operation };
}

export function command<I, O>(operation: Operation<I, O>): Command<I, O> {
  return { kind: 'command', ...operation };
}

/** What every method of a contract looks like: one request, one Call, one value. */
export type Method<I, O> = (request: I, call: Call) => Promise<O>;

/** One descriptor per method, of the method's own types; anything else is a compile error. */
export type DescriptorsOf<T> = {
  readonly [K in keyof T]: T[K] extends (request: infer I, call: Call) => Promise<infer O>
    ? Descriptor<I, O>
    : 'a contract holds only methods of the form (request, call) => Promise';
};

export interface Contract<T> {
  readonly name: string;
  /** The token to inject by: `@inject(portal.id)`. */
  readonly id: symbol;
  readonly operations: DescriptorsOf<T> & Readonly<Record<string, Descriptor>>;
  /** Changes when, and only when, what goes over the wire does. */
  readonly hash: string;
}

const KEBAB = /^[a-z][a-z0-9-]*$/;

/**
 * Defines what other modules may ask of a module.
 * @throws TypeError when a schema would not survive JSON, naming every field.
 */
export function contract<T>(name: string, operations: DescriptorsOf<T>): Contract<T> {
  if (!KEBAB.test(name)) throw new TypeError(`Contract name ${JSON.stringify(name)} must be kebab-case.`);
  const all = operations as Readonly<Record<string, Descriptor>>;
  for (const [method, descriptor] of Object.entries(all)) {
    requireJsonSafe(descriptor.input, `${name}.${method} request`);
    requireJsonSafe(descriptor.output, `${name}.${method} answer`);
  }
  let hash: string | undefined;
  return {
    name,
    id: Symbol.for(`multilith.contract.${name}`),
    operations: all as Contract<T>['operations'],
    // Made when somebody asks, since it takes longer than all else here and one process alone never does.
    get hash() {
      return (hash ??= hashOf(schemasOf(all)));
    },
  };
}

/** The JSON Schemas of a contract's operations, as they are published and hashed. */
export function schemasOf(operations: Readonly<Record<string, Descriptor>>): Readonly<Record<string, object>> {
  return Object.fromEntries(
    Object.entries(operations).map(([method, { kind, input, output }]) => [method, { kind, input: jsonSchemaOf(input), output: jsonSchemaOf(output) }]),
  );
}
