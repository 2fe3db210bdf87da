import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getHeapStatistics } from 'node:v8';
import { keepHeapSmall, youngBytes } from '../../../../src/app/host/heap.ts';

const MB = 1_048_576;

/** Objects that live for a while, as those of requests under way do; until `enough` says so, at most so many rounds. */
function churn(rounds: number, enough = () => false): void {
  let held: object[] = [];
  for (let round = 0; round < rounds && !enough(); round++) {
    for (let i = 0; i < 5_000; i++) held.push({ i, list: [i, round] });
    if (held.length > 30_000) held = held.slice(10_000);
  }
}

test('however much is under way, the heap stays near what is in use', () => {
  churn(10_000, () => youngBytes() >= 16 * MB);
  keepHeapSmall();
  const before = youngBytes();
  churn(1_500);
  // Half of it is given back between collections.
  assert.ok(before >= 16 * MB && youngBytes() <= before * 2, `${before} bytes before, ${youngBytes()} after`);
  assert.ok(getHeapStatistics().total_physical_size < 150 * MB, `${getHeapStatistics().total_physical_size} bytes`);
});
