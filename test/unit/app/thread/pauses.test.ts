import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pauses } from '../../../../src/app/thread/pauses.ts';

test('pauses double from one second to thirty, and begin again after a quiet minute', () => {
  const pauses = new Pauses();
  assert.deepEqual([0, 0, 59_999, 100, 0, 0, 0].map((quietMs) => pauses.after(quietMs)), [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  assert.deepEqual([60_000, 0].map((quietMs) => pauses.after(quietMs)), [1_000, 2_000]);
});
