import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { notification } from '../../../modules/notification/contract.ts';
import { portal } from '../../../modules/portal/contract.ts';
import { trigger } from '../../../modules/trigger/contract.ts';
import { incompatibilities } from '../../../src/kernel/compatibility.ts';
import { command, type Descriptor, query, schemasOf } from '../../../src/kernel/contract.ts';
import { AnyJson } from '../../../src/kernel/json-schema.ts';

const Nothing = z.object({});

/** What keeps a caller with `mine` from a callee with `theirs`, as the request or the answer of the query `ask`. */
function asked(mine: z.ZodType, theirs: z.ZodType): string[] {
  return between({ ask: query({ input: mine, output: Nothing, timeoutMs: 1 }) }, { ask: query({ input: theirs, output: Nothing, timeoutMs: 1 }) });
}
function answered(mine: z.ZodType, theirs: z.ZodType): string[] {
  return between({ ask: query({ input: Nothing, output: mine, timeoutMs: 1 }) }, { ask: query({ input: Nothing, output: theirs, timeoutMs: 1 }) });
}
/** As it arrives, through JSON. */
function between(mine: Record<string, Descriptor>, theirs: Record<string, Descriptor>): string[] {
  return incompatibilities(...([schemasOf(mine), schemasOf(theirs)].map((schemas) => JSON.parse(JSON.stringify(schemas)) as Record<string, object>) as [Record<string, object>, Record<string, object>]));
}
const shape = (fields: z.ZodRawShape): z.ZodObject => z.object({ id: z.string(), ...fields });

describe('what one side has more', () => {
  const fits: Record<string, readonly [older: z.ZodType, newer: z.ZodType]> = {
    'an optional field': [shape({}), shape({ note: z.string().optional() })],
    'a field with a default': [shape({}), shape({ note: z.string().default('') })],
  };
  for (const [what, [older, newer]] of Object.entries(fits)) {
    it(`${what} of a request fits both ways`, () => assert.deepEqual([asked(older, newer), asked(newer, older)], [[], []]));
  }
  it('a new field of an answer fits callers that do not know it, not those that need it', () => {
    assert.deepEqual(answered(shape({}), shape({ at: z.int() })), []);
    assert.deepEqual(answered(shape({ at: z.int() }), shape({})), ['ask answers none where field at is needed']);
  });
  it('a new operation fits callers that do not know it, not those that do', () => {
    const ask = query({ input: Nothing, output: Nothing, timeoutMs: 1 });
    assert.deepEqual(between({ ask }, { ask, tell: ask }), []);
    assert.deepEqual(between({ ask, tell: ask, constructor: ask }, { ask }), ['has no operation tell', 'has no operation constructor']);
  });
  it('times, faults and caches may differ', () => {
    const older = query<object, object>({ input: Nothing, output: Nothing, timeoutMs: 1 });
    assert.deepEqual(between({ ask: older }, { ask: query<object, object>({ input: Nothing, output: Nothing, timeoutMs: 9, faults: ['x'], cache: { ttlMs: 5, keyBy: () => '' } }) }), []);
  });
});

it('an operation that reads on one side and changes on the other is named', () => {
  const operation = { input: Nothing, output: Nothing, timeoutMs: 1 };
  assert.deepEqual(between({ ask: query(operation) }, { ask: command(operation) }), ['ask is a command there and a query here']);
});

describe('a change in one direction', () => {
  const T = z.object({ n: z.int(), get kids() { return z.array(T).optional(); } });
  const U = z.object({ n: z.int().max(9), get kids() { return z.array(U).optional(); } });
  /** Whoever reads the wider understands whoever writes the narrower, and not the other way round. */
  const changes: Record<string, readonly [narrow: z.ZodType, wide: z.ZodType, field: string]> = {
    'a required field more': [shape({ at: z.int() }), shape({ at: z.int().optional() }), 'at'],
    'a value more in an enum': [shape({ s: z.enum(['a', 'b']) }), shape({ s: z.enum(['a', 'b', 'c']) }), 's'],
    'an enum instead of text': [shape({ s: z.enum(['a', 'b']) }), shape({ s: z.string() }), 's'],
    'a literal of an enum': [shape({ s: z.literal('a') }), shape({ s: z.enum(['a', 'b']) }), 's'],
    'true instead of a boolean': [shape({ s: z.literal(true) }), shape({ s: z.boolean() }), 's'],
    'null as well': [shape({ at: z.int() }), shape({ at: z.int().nullable() }), 'at'],
    'whole numbers': [shape({ n: z.int() }), shape({ n: z.number() }), 'n'],
    'a lower least': [shape({ n: z.int().min(2) }), shape({ n: z.int().min(1) }), 'n'],
    'more than, instead of at least': [shape({ n: z.number().gt(1) }), shape({ n: z.number().min(1) }), 'n'],
    'a higher most': [shape({ n: z.int().max(5) }), shape({ n: z.int().max(6) }), 'n'],
    'longer text': [shape({ s: z.string().max(5) }), shape({ s: z.string().max(6) }), 's'],
    'empty text': [shape({ s: z.string().min(1) }), shape({ s: z.string() }), 's'],
    'longer lists': [shape({ l: z.array(z.int()).max(2) }), shape({ l: z.array(z.int()).max(3) }), 'l'],
    'a pattern': [shape({ s: z.string().regex(/^a/) }), shape({ s: z.string() }), 's'],
    'a format': [shape({ s: z.email() }), shape({ s: z.string() }), 's'],
    'one of two patterns': [shape({ s: z.string().regex(/^a/).regex(/b$/) }), shape({ s: z.string().regex(/^a/) }), 's'],
    'values within limits': [shape({ s: z.enum(['ab', 'abc']) }), shape({ s: z.string().min(2).max(3).regex(/^a/) }), 's'],
    'an alternative more': [shape({ u: z.union([z.string(), z.int()]) }), shape({ u: z.union([z.string(), z.int(), z.boolean()]) }), 'u'],
    'a kind more of a union': [shape({ u: z.discriminatedUnion('k', [z.object({ k: z.literal('a') })]) }), shape({ u: z.discriminatedUnion('k', [z.object({ k: z.literal('a') }), z.object({ k: z.literal('b') })]) }), 'u.k'],
    'a field in one kind of a union': [shape({ u: z.discriminatedUnion('k', [z.object({ k: z.literal('a'), x: z.int() }), z.object({ k: z.literal('b') })]) }), shape({ u: z.discriminatedUnion('k', [z.object({ k: z.literal('a') }), z.object({ k: z.literal('b') })]) }), 'u.x'],
    'a field inside something nullable': [shape({ o: z.object({ x: z.int() }).nullable() }), shape({ o: z.object({ x: z.int().optional() }).nullable() }), 'o.x'],
    'what a record holds': [shape({ r: z.record(z.string(), z.int()) }), shape({ r: z.record(z.string(), z.number()) }), 'r.*'],
    'names in a record': [shape({ r: z.partialRecord(z.enum(['a']), z.int()) }), shape({ r: z.partialRecord(z.enum(['a', 'b']), z.int()) }), 'r.(name)'],
    'fields in a record': [shape({ r: z.object({ a: z.int() }) }), shape({ r: z.record(z.string(), z.number()) }), 'r.a'],
    'other fields beside those named': [shape({ r: z.object({ a: z.int() }).catchall(z.int()) }), shape({ r: z.object({ a: z.int() }).catchall(z.number()) }), 'r.*'],
    'items of a list': [shape({ l: z.array(z.object({ x: z.int() })) }), shape({ l: z.array(z.object({ x: z.number() })) }), 'l[].x'],
    'places of a tuple': [shape({ l: z.tuple([z.int(), z.int()]) }), shape({ l: z.tuple([z.int(), z.number()]) }), 'l[1]'],
    'a list instead of a tuple': [shape({ l: z.tuple([z.int(), z.int()]) }), shape({ l: z.array(z.int()) }), 'l'],
    'free JSON': [shape({ f: z.object({ a: z.string() }) }), shape({ f: AnyJson }), 'f'],
    'a field deep down': [shape({ a: z.object({ b: z.array(z.object({ c: z.string() })) }) }), shape({ a: z.object({ b: z.array(z.object({ c: z.string().optional() })) }) }), 'a.b[].c'],
    'recursion': [shape({ t: U }), shape({ t: T }), 't.n'],
  };
  for (const [what, [narrow, wide, field]] of Object.entries(changes)) {
    it(`${what}: fits where the wider reads`, () => assert.deepEqual([asked(narrow, wide), answered(wide, narrow)], [[], []]));
    it(`${what}: is named where the narrower reads`, () => {
      for (const [method, problems] of [['ask wants', asked(wide, narrow)], ['ask answers', answered(narrow, wide)]] as const) {
        assert.equal(problems.length > 0, true, 'no problem was found');
        assert.ok(problems.some((problem) => problem.startsWith(method) && `${problem} `.includes(`field ${field} `)), problems.join('\n'));
      }
    });
  }

  const others: Record<string, readonly [z.ZodType, z.ZodType]> = {
    'another type': [shape({ x: z.string() }), shape({ x: z.int() })],
    'an object where a list was': [shape({ x: z.object({}) }), shape({ x: z.array(z.string()) })],
    'another pattern': [shape({ x: z.string().regex(/a/) }), shape({ x: z.string().regex(/b/) })],
    'optional for nullable': [shape({ x: z.int().optional() }), shape({ x: z.int().nullable() })],
  };
  for (const [what, [one, other]] of Object.entries(others)) {
    it(`${what} fits neither way`, () => {
      for (const problems of [asked(one, other), asked(other, one), answered(one, other), answered(other, one)]) assert.match(problems.join(), /field x/);
    });
  }
  it('a reader that refuses unknown fields refuses them by name', () => {
    assert.deepEqual(asked(shape({ x: z.int().optional() }), z.strictObject({ id: z.string() })), ['ask wants no such field in field x and would be sent it']);
    assert.match(asked(z.record(z.string(), z.string()), z.strictObject({ id: z.string().optional() })).join(), /no such field in field \*/);
  });
});

test('every contract of this build fits itself, and that is found out quickly', () => {
  for (const { name, operations } of [portal, trigger, notification]) {
    const began = performance.now();
    assert.deepEqual(between(operations, operations), [], name);
    assert.ok(performance.now() - began < 1_000, `${name} took ${performance.now() - began} ms`);
  }
});

/** A schema and values that it was made to allow. */
interface Made {
  readonly schema: z.ZodType;
  readonly values: fc.Arbitrary<unknown>;
}
const leaf = fc.oneof(
  fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 3, max: 6 })).map(([min, max]): Made => ({ schema: z.string().min(min).max(max), values: fc.string({ minLength: min, maxLength: max }) })),
  fc.constant<Made>({ schema: z.string(), values: fc.string() }),
  fc.constant<Made>({ schema: z.string().regex(/^a/), values: fc.string().map((text) => `a${text}`) }),
  fc.tuple(fc.integer({ min: -3, max: 0 }), fc.integer({ min: 0, max: 3 })).map(([min, max]): Made => ({ schema: z.int().min(min).max(max), values: fc.integer({ min, max }) })),
  fc.tuple(fc.integer({ min: -3, max: 0 }), fc.integer({ min: 2, max: 4 })).map(([min, max]): Made => ({ schema: z.number().gt(min).lt(max), values: fc.oneof(fc.double({ min, max, minExcluded: true, maxExcluded: true, noNaN: true }), fc.integer({ min: min + 1, max: max - 1 })) })),
  fc.constant<Made>({ schema: z.number(), values: fc.double({ noNaN: true, noDefaultInfinity: true }) }),
  fc.constant<Made>({ schema: z.boolean(), values: fc.boolean() }),
  fc.constant<Made>({ schema: AnyJson, values: fc.jsonValue() }),
  fc.uniqueArray(fc.constantFrom('a', 'b', 'ab', 'abcd'), { minLength: 1, maxLength: 3 }).map((names): Made => ({ schema: z.enum(names as [string]), values: fc.constantFrom(...names) })),
);
const { made } = fc.letrec<{ made: Made; inner: Made }>((tie) => ({
  made: fc.oneof({ maxDepth: 3, withCrossShrink: true }, leaf, tie('inner')),
  inner: fc.oneof(
    fc.dictionary(fc.constantFrom('x', 'y', 'z'), fc.tuple(tie('made') as fc.Arbitrary<Made>, fc.boolean()), { maxKeys: 3 }).chain((fields) =>
      fc.constantFrom('plain', 'strict', 'rest').map((manner): Made => {
        const entries = Object.entries(fields);
        const inside = Object.fromEntries(entries.map(([name, [{ schema }, isNeeded]]) => [name, isNeeded ? schema : schema.optional()]));
        const values = fc.record(Object.fromEntries(entries.map(([name, [{ values }]]) => [name, values])), { requiredKeys: entries.filter(([, [, isNeeded]]) => isNeeded).map(([name]) => name), noNullPrototype: true });
        const schema = manner === 'strict' ? z.strictObject(inside) : manner === 'rest' ? z.object(inside).catchall(z.int()) : z.object(inside);
        return { schema, values: manner === 'rest' ? fc.tuple(fc.dictionary(fc.constantFrom('v', 'w'), fc.integer(), { noNullPrototype: true }), values).map(([rest, named]) => ({ ...rest, ...named })) : values };
      }),
    ),
    fc.tuple(tie('made') as fc.Arbitrary<Made>, fc.integer({ min: 0, max: 3 })).map(([{ schema, values }, max]): Made => ({ schema: z.array(schema).max(max), values: fc.array(values, { maxLength: max }) })),
    fc.tuple(tie('made') as fc.Arbitrary<Made>, tie('made') as fc.Arbitrary<Made>).map(([a, b]): Made => ({ schema: z.tuple([a.schema, b.schema]), values: fc.tuple(a.values, b.values) })),
    fc.tuple(tie('made') as fc.Arbitrary<Made>, tie('made') as fc.Arbitrary<Made>).map(([a, b]): Made => ({ schema: z.union([a.schema, b.schema]), values: fc.oneof(a.values, b.values) })),
    (tie('made') as fc.Arbitrary<Made>).map(({ schema, values }): Made => ({ schema: schema.nullable(), values: fc.option(values) })),
    (tie('made') as fc.Arbitrary<Made>).map(({ schema, values }): Made => ({ schema: z.record(z.string().max(2), schema), values: fc.dictionary(fc.constantFrom('x', 'y', 'xy'), values, { noNullPrototype: true }) })),
  ) as fc.Arbitrary<Made>,
}));

const seed = Number(process.env.MULTILITH_SEED ?? Date.now() % 2 ** 31);

test('any schema fits itself', (t) => {
  t.diagnostic(`seed ${seed}`);
  fc.assert(fc.property(made, ({ schema }) => assert.deepEqual([asked(schema, schema), answered(schema, schema)], [[], []])), { seed, numRuns: 500 });
});

test('where nothing is said against two schemas, every request of the one is taken by the other', (t) => {
  t.diagnostic(`seed ${seed}`);
  let fitting = 0;
  fc.assert(
    fc.property(made, made, fc.gen(), (mine, theirs, gen) => {
      if (asked(mine.schema, theirs.schema).length > 0) return;
      fitting++;
      for (let i = 0; i < 10; i++) {
        const value = JSON.parse(JSON.stringify(gen(() => mine.values))) as unknown;
        const { success, error } = theirs.schema.safeParse(value);
        assert.ok(success, `${JSON.stringify(value)} is refused: ${error?.message}`);
      }
    }),
    { seed, numRuns: 5_000 },
  );
  assert.ok(fitting > 100, `only ${fitting} pairs fit`);
});
