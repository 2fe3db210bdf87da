import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ask, callOf, echo, onEachWire } from '../../support/transports.ts';
import { seeded } from '../../support/seed.ts';

/** Keys that mean something to JavaScript or to some codec, and texts that UTF-8 cannot carry. */
const KEYS = ['__proto__', 'constructor', 'toString', 'toJSON', 'hasOwnProperty', '__keys__', 'length', '', '0', '-1', '\ud800', '\udc00x', 'é', '\u0000', '\u2028', 'then', 'x'.repeat(300)];
const TEXTS = [...KEYS, '\ud83d\ude00', '\ud83d', 'a\udbff', '\uffff', 'x'.repeat(39), 'x'.repeat(40), 'é'.repeat(39), 'é'.repeat(40), 'ü'.repeat(200), '漢'.repeat(30_000)];
const NUMBERS = [0, -0, 1, -1, 63, 64, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, -(2 ** 31), 2 ** 32 - 1, 2 ** 32, 2 ** 53, -(2 ** 53), 1e308, 5e-324, 0.1, -1e-7];

const key = fc.oneof({ weight: 3, arbitrary: fc.constantFrom('id', 'name', 'at', 'list') }, fc.constantFrom(...KEYS), fc.string({ unit: 'binary' }));
const leaf = fc.oneof(fc.constantFrom<unknown>(null, true, false, ...NUMBERS, ...TEXTS), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer(), fc.string({ unit: 'binary' }));
const { value: anyJson } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof({ maxDepth: 5, depthSize: 'small' }, leaf, fc.array(tie('value'), { maxLength: 20 }), fc.array(fc.tuple(key, tie('value')), { maxLength: 12 }).map(objectOf)),
}));

/** Keys as they are, `__proto__` too. */
function objectOf(entries: readonly (readonly [string, unknown])[]): object {
  const made = {};
  for (const [name, value] of entries) Object.defineProperty(made, name, { value, enumerable: true, configurable: true, writable: true });
  return made;
}

onEachWire('values', (opened) => {
  test('any JSON value arrives, as request and as answer, exactly as JSON would carry it', async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const link = await opened(t, echo);
    const property = fc.asyncProperty(fc.array(anyJson, { minLength: 1, maxLength: 8 }), async (values) => {
      const answers = await Promise.all(values.map((value) => ask(link, callOf(value))));
      values.forEach((value, i) => assert.deepStrictEqual(answers[i], JSON.parse(JSON.stringify(value))));
    });
    await fc.assert(property, { seed: random.seed, numRuns: 300 });
  });

  test('what JSON leaves out or replaces is left out or replaced', async (t) => {
    const link = await opened(t, echo);
    class Point {
      x = 1;
    }
    const values = [{ a: undefined, b: [undefined, () => 1, Symbol('s')], c: NaN, d: -Infinity }, { at: new Date(0) }, new Point(), { toJSON: () => ({ made: 'by itself' }) }, Object.assign(Object.create(null), { a: 1 }), new Map([[1, 2]]), [, 1], undefined];
    for (const value of values) assert.deepStrictEqual(await ask(link, callOf(value)), JSON.parse(JSON.stringify(value) ?? 'null'));
  });

  test('long texts, deep nesting and many keys arrive', async (t) => {
    const link = await opened(t, echo);
    let deep: unknown = 'bottom';
    for (let level = 0; level < 900; level++) deep = level % 2 === 0 ? [deep] : { deep };
    const wide = Object.fromEntries(Array.from({ length: 70_000 }, (_, n) => [`key ${n}`, n]));
    for (const value of ['x'.repeat(1_000_000), 'ü'.repeat(1_000_000), deep, wide, Array.from({ length: 100_000 }, (_, n) => n)]) assert.deepStrictEqual(await ask(link, callOf(value)), value);
  });

  test('objects of a thousand shapes, each with keys that are data, arrive in turns', async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const link = await opened(t, echo);
    const shapes = Array.from({ length: 1_000 }, (_, n) => ({ [`person ${n}`]: { [`at ${n % 300}`]: n, list: [{ [`k${n % 90}`]: true }] }, same: { a: 1, b: 'two' } }));
    for (let round = 0; round < 10; round++) {
      const values = Array.from({ length: 1_000 }, () => shapes[random.whole(shapes.length)]!);
      assert.deepStrictEqual(await Promise.all(values.map((value) => ask(link, callOf(value)))), values);
    }
  });

  test('the value is the one of the moment of the call, whatever becomes of the object', async (t) => {
    const link = await opened(t, echo);
    const requests = Array.from({ length: 2_000 }, (_, n) => ({ n, inner: { n } }));
    const answers = requests.map((request) => {
      const answer = ask(link, callOf(request));
      request.n = request.inner.n = -1;
      return answer;
    });
    assert.deepStrictEqual(await Promise.all(answers), requests.map((_, n) => ({ n, inner: { n } })));
  });
});
