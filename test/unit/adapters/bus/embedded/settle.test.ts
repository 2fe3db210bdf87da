import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoffMs } from '../../../../../adapters/bus/embedded/settle.ts';

const backoff = { firstMs: 1_000, factor: 2, mostMs: 60_000, jitter: 0 };

test('the wait doubles with each try up to the longest', () => {
  assert.deepEqual([1, 2, 3, 6, 7, 100].map((attempt) => backoffMs(backoff, attempt)), [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
});

test('jitter draws its share of the wait', () => {
  const with20 = { ...backoff, jitter: 0.2 };
  assert.deepEqual([0, 0.5, 1].map((drawn) => backoffMs(with20, 2, () => drawn)), [1_600, 1_800, 2_000]);
  assert.equal(backoffMs({ ...backoff, jitter: 1 }, 3, () => 0), 0);
});
