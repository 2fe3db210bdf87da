import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Edge } from '../../../src/fabric/edge.ts';

test('the figures of an edge count calls, failures, tries and times', () => {
  const edge = new Edge();
  assert.deepEqual([edge.figures().calls, edge.figures().p50Ms, edge.figures().p99Ms], [0, null, null]);
  for (let ms = 1; ms <= 100; ms++) edge.ended(ms, ms > 90 ? 'internal' : undefined);
  const { calls, failed, p50Ms, p99Ms, callsPerSecond, failedPerSecond } = edge.figures();
  assert.deepEqual([calls, failed, callsPerSecond, failedPerSecond], [100, 10, 100, 10]);
  assert.ok(Math.abs(p50Ms! - 50) < 7.5 && Math.abs(p99Ms! - 99) < 15, `${p50Ms} ${p99Ms}`);
});

test('a call that waits on purpose counts, and its time does not', () => {
  const edge = new Edge();
  for (const ms of [1, 2, null]) {
    edge.began();
    edge.ended(ms, ms === null ? 'deadline' : undefined);
  }
  const { calls, failed, pending, p99Ms } = edge.figures();
  assert.deepEqual([calls, failed, pending, p99Ms! < 3], [3, 1, 0, true]);
  const { timed, seconds, within } = edge.totals();
  assert.deepEqual([timed, seconds, within(60)], [2, 0.003, 2]);
  const idle = new Edge();
  idle.ended(null);
  assert.deepEqual([idle.figures().p50Ms, idle.figures().p99Ms], [null, null]);
});
