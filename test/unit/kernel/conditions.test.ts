import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { problemsOfCondition } from '../../../src/kernel/conditions/check.ts';
import { type Condition, conditionOver } from '../../../src/kernel/conditions/condition.ts';
import type { PersonFacts, Properties } from '../../../src/kernel/conditions/field.ts';
import { compileCondition } from '../../../src/kernel/conditions/predicate.ts';

const ConditionSchema = conditionOver(z.string());

const PERSON: PersonFacts = { email: 'ada@example.org', timeZone: 'Europe/Zurich', attributes: { plan: 'gold', address: { city: 'Bern' }, tags: ['a', 'b'], age: 41, none: null } };
const EVENT: Properties = { amount: 5, text: '5', items: [{ sku: 'x1' }], deep: { er: { value: true } }, at: '2026-01-31' };

function holds(condition: Condition, event: Properties = EVENT, person: PersonFacts = PERSON): boolean {
  assert.deepEqual(problemsOfCondition(condition, 'condition'), []);
  return compileCondition(condition)(event, person);
}

describe('conditions', () => {
  const cases: [Condition, boolean][] = [
    [{ field: 'event.amount', op: 'eq', value: 5 }, true],
    [{ field: 'event.text', op: 'eq', value: 5 }, false],
    [{ field: 'event.amount', op: 'ne', value: '5' }, true],
    [{ field: 'event.nothing', op: 'ne', value: 5 }, true],
    [{ field: 'event.amount', op: 'gte', value: 5 }, true],
    [{ field: 'event.amount', op: 'gt', value: 5 }, false],
    [{ field: 'event.text', op: 'gt', value: 4 }, false],
    [{ field: 'event.at', op: 'lt', value: '2026-02-01' }, true],
    [{ field: 'event.nothing', op: 'lt', value: 5 }, false],
    [{ field: 'event.items.0.sku', op: 'eq', value: 'x1' }, true],
    [{ field: 'event.items.length', op: 'exists' }, false],
    [{ field: 'event.deep.er.value', op: 'eq', value: true }, true],
    [{ field: 'event.deep.er', op: 'eq', value: { value: true } }, true],
    [{ field: 'person.email', op: 'ends_with', value: '@example.org' }, true],
    [{ field: 'person.timeZone', op: 'starts_with', value: 'Europe/' }, true],
    [{ field: 'person.address.city', op: 'in', value: ['Bern', 'Basel'] }, true],
    [{ field: 'person.tags', op: 'contains', value: 'b' }, true],
    [{ field: 'person.plan', op: 'contains', value: 'ol' }, true],
    [{ field: 'person.none', op: 'missing' }, true],
    [{ field: 'person.none', op: 'exists' }, false],
    [{ field: 'person.plan', op: 'exists' }, true],
    [{ field: 'person.email.length', op: 'exists' }, false],
    [{ all: [] }, true],
    [{ any: [] }, false],
    [{ not: { any: [{ field: 'person.age', op: 'lte', value: 40 }, { field: 'person.age', op: 'gt', value: 99 }] } }, true],
  ];
  for (const [condition, expected] of cases) test(`${JSON.stringify(condition)} is ${expected}`, () => assert.equal(holds(condition), expected));

  test('names of the prototype are names like any other', () => {
    for (const key of ['constructor', '__proto__', 'toString', 'hasOwnProperty', '__proto__.constructor.name', 'constructor.prototype']) {
      for (const root of ['event', 'person']) assert.equal(holds({ field: `${root}.${key}`, op: 'exists' }), false, `${root}.${key}`);
    }
    assert.equal(holds({ field: 'event.__proto__.x', op: 'eq', value: 1 }, JSON.parse('{"__proto__":{"x":1}}') as Properties), true);
    assert.equal(holds({ field: 'event.a', op: 'eq', value: JSON.parse('{"__proto__":{}}') as Properties }, { a: {} }), false);
  });

  const key = fc.constantFrom('a', 'b', 'email', 'length', 'constructor', '__proto__', '0');
  const json = fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Properties[string]>;
  const scalar = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom('', 'a', 'ab', 'b', '1'), fc.boolean());
  const value = fc.oneof({ weight: 5, arbitrary: scalar as fc.Arbitrary<Properties[string]> }, { weight: 1, arbitrary: json }, { weight: 1, arbitrary: fc.array(scalar, { maxLength: 3 }) });
  const object = fc.dictionary(key, fc.oneof({ weight: 4, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) }, { weight: 2, arbitrary: fc.dictionary(key, value, { maxKeys: 3 }) }), { maxKeys: 5 }) as fc.Arbitrary<Properties>;
  const field = fc.tuple(fc.constantFrom('event', 'person'), fc.array(key, { minLength: 1, maxLength: 2 })).map(([root, keys]) => `${root}.${keys.join('.')}`);
  const leaf = fc.record({ field, op: fc.constantFrom('eq', 'ne', 'gt', 'gte', 'lt', 'lte', 'contains', 'starts_with', 'ends_with', 'in', 'exists', 'missing'), value }, { requiredKeys: ['field', 'op'] }) as fc.Arbitrary<Condition>;
  const condition = fc.letrec<{ node: Condition }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      leaf,
      fc.record({ all: fc.array(tie('node'), { maxLength: 3 }) }),
      fc.record({ any: fc.array(tie('node'), { maxLength: 3 }) }),
      fc.record({ not: tie('node') }),
    ) as fc.Arbitrary<Condition>,
  })).node;
  const facts = fc.record({ email: fc.constantFrom(null, 'a', 'ab'), timeZone: fc.constantFrom(null, 'b'), attributes: object }) as fc.Arbitrary<PersonFacts>;

  test('closures say what a plain reading of the rule says, and never throw', () => {
    fc.assert(fc.property(condition, object, facts, (tree, event, person) => compileCondition(tree)(event, person) === read(tree, event, person)), { numRuns: 5_000, ...seedOf() });
  });

  test('whatever passes the check also passes the schema again after storage', () => {
    fc.assert(
      fc.property(condition, (tree) => problemsOfCondition(tree, 'condition').length > 0 || ConditionSchema.safeParse(JSON.parse(JSON.stringify(tree))).success),
      { numRuns: 1_000, ...seedOf() },
    );
  });
});

describe('the check of a condition', () => {
  const problemsOf = (condition: unknown) => problemsOfCondition(condition as Condition, 'rule.when');
  const nested = (levels: number): Condition => (levels === 1 ? { field: 'event.a', op: 'exists' } : { not: nested(levels - 1) });
  const leaves = (count: number): Condition => ({ any: Array.from({ length: 50 }, (_, i) => ({ all: Array.from({ length: i === 0 ? count - 49 : 1 }, () => ({ field: 'event.a', op: 'exists' as const })) })) });

  test('ten levels and two hundred comparisons pass, one more does not', () => {
    assert.deepEqual(problemsOf(nested(10)), []);
    assert.match(problemsOf(nested(11))[0]!.path, /^rule\.when(\.not){10}$/);
    assert.deepEqual(problemsOf(leaves(200)), []);
    assert.equal(problemsOf(leaves(201))[0]!.path, 'rule.when');
  });

  test('names every path and what to do', () => {
    const found = problemsOf({
      all: [
        { field: 'event.a', op: 'eq' },
        { field: 'event.a', op: 'exists', value: 1 },
        { field: 'event.a', op: 'in', value: 'x' },
        { any: [{ field: 'event.a', op: 'gt', value: true }, { field: 'event.a', op: 'eq', value: null }] },
        { field: 'event.a', op: 'starts_with', value: 1 },
        { field: 'event.a', op: 'in', value: [null] },
        { field: 'event.a', op: 'contains', value: 'x'.repeat(201) },
        { field: 'event.a', op: 'exists', all: [] },
        {},
      ],
    });
    assert.deepEqual(found.map(({ path }) => path), [
      'rule.when.all[0].value',
      'rule.when.all[1].value',
      'rule.when.all[2].value',
      'rule.when.all[3].any[0].value',
      'rule.when.all[3].any[1].value',
      'rule.when.all[4].value',
      'rule.when.all[5].value',
      'rule.when.all[6].value',
      'rule.when.all[7]',
      'rule.when.all[8]',
    ]);
    for (const { problem, remedy } of found) assert.ok(problem.length > 0 && remedy.length > 0);
  });

  test('no comparison that passes takes long, whatever it is asked about', () => {
    const text = 'ab'.repeat(16_000);
    const wide = Object.fromEntries(Array.from({ length: 3_500 }, (_, i) => [`k${i}`, 1]));
    for (const [found, comparison] of [
      [text, { op: 'contains', value: `${'ab'.repeat(50)}b${'ab'.repeat(49)}` }],
      [wide, { op: 'in', value: Array.from({ length: 1_000 }, (_, i) => ({ i })) }],
      [Array<number>(16_000).fill(1), { op: 'in', value: Array.from({ length: 1_000 }, (_, i) => [i]) }],
    ] as const) {
      const condition = { field: 'event.a', ...comparison } as Condition;
      assert.deepEqual(problemsOf(condition), []);
      const holds = compileCondition(condition);
      const began = process.threadCpuUsage().user;
      assert.equal(holds({ a: found } as Properties, PERSON), false);
      assert.ok(process.threadCpuUsage().user - began < 20_000, comparison.op);
    }
  });

  test('survives values and trees that are nested a hundred thousand deep', () => {
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    assert.equal(problemsOf({ field: 'event.a', op: 'eq', value: deep })[0]!.path, 'rule.when.value');
    let tree: unknown = { field: 'event.a', op: 'exists' };
    for (let i = 0; i < 100_000; i++) tree = { not: tree };
    assert.equal(problemsOf(tree).length, 1);
  });
});

function seedOf(): { seed?: number } {
  return process.env.MULTILITH_SEED === undefined ? {} : { seed: Number(process.env.MULTILITH_SEED) };
}

/** The rule's meaning in the plainest way; fast-check prints the seed when the two differ. */
function read(condition: Condition, event: Properties, person: PersonFacts): boolean {
  if ('all' in condition) return condition.all.filter((inner) => !read(inner, event, person)).length === 0;
  if ('any' in condition) return condition.any.filter((inner) => read(inner, event, person)).length > 0;
  if ('not' in condition) return !read(condition.not, event, person);
  const found = lookUp(condition.field.split('.'), event, person);
  const { op, value } = condition;
  const present = found !== undefined && found !== null;
  const same = (x: unknown, y: unknown): boolean => JSON.stringify(sorted(x)) === JSON.stringify(sorted(y)) && typeof x === typeof y;
  if (op === 'exists') return present;
  if (op === 'missing') return !present;
  const wanted = value ?? null;
  if (op === 'eq') return found !== undefined && same(found, wanted);
  if (op === 'ne') return !(found !== undefined && same(found, wanted));
  if (op === 'in') return found !== undefined && Array.isArray(wanted) && wanted.some((one) => same(found, one));
  if (op === 'contains') {
    if (Array.isArray(found)) return found.some((one) => same(one, wanted));
    return typeof found === 'string' && typeof wanted === 'string' && found.indexOf(wanted) >= 0;
  }
  if (op === 'starts_with') return typeof found === 'string' && typeof wanted === 'string' && found.slice(0, wanted.length) === wanted;
  if (op === 'ends_with') return typeof found === 'string' && typeof wanted === 'string' && found.slice(found.length - wanted.length) === wanted && found.length >= wanted.length;
  if (typeof found !== typeof wanted || (typeof found !== 'number' && typeof found !== 'string')) return false;
  const order = found === wanted ? 0 : (found as number) < (wanted as number) ? -1 : 1;
  return { gt: order > 0, gte: order >= 0, lt: order < 0, lte: order <= 0 }[op];
}

function lookUp([root, ...keys]: string[], event: Properties, person: PersonFacts): unknown {
  if (root === 'person' && keys.join('.') === 'email') return person.email ?? undefined;
  if (root === 'person' && keys.join('.') === 'timeZone') return person.timeZone ?? undefined;
  let value: unknown = root === 'event' ? event : person.attributes;
  for (const key of keys) {
    if (typeof value !== 'object' || value === null || (Array.isArray(value) && key === 'length')) return undefined;
    value = Object.entries(value).find(([name]) => name === key)?.[1];
  }
  return value;
}

function sorted(value: unknown): unknown {
  if (typeof value === 'number') return value === 0 ? 0 : value;
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return { object: Object.entries(value).map(([key, inner]) => [key, sorted(inner)] as const).sort(([a], [b]) => (a < b ? -1 : 1)) };
}
