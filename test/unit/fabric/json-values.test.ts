import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { canonicalJson } from '../../../src/kernel/json-schema.ts';
import { freezeJson, sameJson } from '../../../src/fabric/json-values.ts';

const seed = Number(process.env.MULTILITH_SEED ?? Date.now() % 2 ** 31);
const copy = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown;
const isDeeplyFrozen = (value: unknown): boolean => typeof value !== 'object' || value === null || (Object.isFrozen(value) && Object.values(value).every(isDeeplyFrozen));

describe('JSON values', () => {
  it('are the same when their canonical texts are, and else are not', (t) => {
    t.diagnostic(`seed ${seed}`);
    const small = fc.jsonValue({ maxDepth: 3, stringUnit: fc.constantFrom('a', 'b') });
    fc.assert(
      fc.property(small, small, (a, b) => {
        assert.equal(sameJson(copy(a), copy(b)), canonicalJson(copy(a)) === canonicalJson(copy(b)));
        assert.ok(sameJson(copy(a), JSON.parse(canonicalJson(copy(a)))));
      }),
      { seed, numRuns: 2_000 },
    );
  });

  it('are told apart by fields with the names of built-in ones, and not by fields that are undefined', () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '']) {
      const one = JSON.parse(`{${JSON.stringify(name)}:{}}`) as object;
      assert.ok(sameJson(one, copy(one)), name);
      assert.ok(!sameJson(one, {}) && !sameJson({}, one), name);
    }
    assert.ok(sameJson({ a: 1 }, { a: 1, b: undefined }) && sameJson({ a: 1, b: undefined }, { a: 1 }));
    assert.ok(!sameJson({ a: null }, {}) && !sameJson({}, []) && !sameJson([], {}) && !sameJson('1', 1) && !sameJson({ a: 1 }, { b: 1 }));
  });

  it('that are too deep to compare count as different', () => {
    const deep = (): unknown => JSON.parse('['.repeat(3_000) + ']'.repeat(3_000));
    assert.equal(sameJson(deep(), deep()), false);
  });

  it('are frozen to their leaves, at any depth, and weighed', (t) => {
    t.diagnostic(`seed ${seed}`);
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const own = copy(value);
        assert.ok(freezeJson(own) > 0);
        assert.ok(isDeeplyFrozen(own));
        assert.deepEqual(own, copy(value));
      }),
      { seed, numRuns: 300 },
    );
    const text = 'x'.repeat(100_000);
    const weight = freezeJson({ text, list: [text] });
    assert.ok(weight >= 200_000 && weight < 201_000, String(weight));
    let deep: unknown = 1;
    for (let i = 0; i < 50_000; i++) deep = [deep];
    assert.ok(freezeJson(deep) >= 50_000);
  });
});
