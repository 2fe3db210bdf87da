import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import { type Fared, Together } from '../../../src/kernel/together.ts';
import { rejectsWith } from '../../support/faults.ts';

/** Doubles numbers; remembers what it was given together. */
function doubler(most: number, before: (all: readonly number[]) => Promise<void> | void = () => {}): { together: Together<number, number>; pieces: number[][] } {
  const pieces: number[][] = [];
  const together = new Together<number, number>(most, async (all): Promise<Fared<number>[]> => {
    pieces.push([...all]);
    await before(all);
    return all.map((n) => (n === 13 ? { fault: new Fault('conflict', 'Thirteen.', { reason: 'thirteen' }) } : { value: n * 2 }));
  });
  return { together, pieces };
}

test('what comes while work is under way is done together when that is over, and everybody has their own answer', async () => {
  const began = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const { together, pieces } = doubler(3, () => (began.resolve(), released));
  const first = together.ask(1);
  await began.promise;
  const rest = [2, 13, 4, 5].map((n) => together.ask(n));
  release();
  assert.equal(await first, 2);
  await rejectsWith('conflict', rest[1]!, 'thirteen');
  assert.deepEqual(await Promise.all([rest[0], rest[2], rest[3]]), [4, 8, 10]);
  assert.deepEqual(pieces, [[1], [2, 13, 4], [5]]);
  assert.equal(await together.ask(6), 12);
});

test('when the work fails, each is done alone, and only the one that it failed for is told', async () => {
  const { together, pieces } = doubler(10, (all) => {
    if (all.includes(3)) throw new Fault('invalid', 'No threes.', { reason: 'three' });
  });
  const asked = [2, 3, 4].map((n) => together.ask(n));
  await rejectsWith('invalid', asked[1]!, 'three');
  assert.deepEqual(await Promise.all([asked[0], asked[2]]), [4, 8]);
  assert.deepEqual(pieces, [[2, 3, 4], [2], [3], [4]]);
});

test('an outage is told to all of them and not tried again', async () => {
  const { together, pieces } = doubler(10, () => {
    throw new Fault('unavailable', 'Away.', { reason: 'away' });
  });
  await Promise.all([1, 2].map((n) => rejectsWith('unavailable', together.ask(n), 'away')));
  assert.deepEqual(pieces, [[1, 2]]);
});
