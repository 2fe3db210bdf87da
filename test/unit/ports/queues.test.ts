import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { QueueState } from '../../../src/ports/bus.ts';
import { type QueueStatus, QUEUE_STATUSES, viewOf } from '../../../src/ports/queues.ts';

const idle: QueueState = { name: 'q', ready: { urgent: 0, normal: 0, bulk: 0 }, waiting: 0, inFlight: 0, dead: 3, oldestMs: null, paused: false, pausedWorkspaces: [], consumers: 2, concurrency: 5, lastPublished: 1, lastTaken: 2 };
const ready = { urgent: 1, normal: 2, bulk: 4 };

const cases: readonly (readonly [QueueStatus, Partial<QueueState>, string?])[] = [
  ['idle', {}],
  ['idle', { consumers: 0, concurrency: 0 }],
  ['waiting', { waiting: 1 }],
  ['working', { ready }],
  ['working', { inFlight: 4 }],
  ['working', { ready, inFlight: 4, waiting: 1 }],
  ['busy', { inFlight: 5 }],
  ['busy', { ready, inFlight: 7 }],
  ['unattended', { ready, consumers: 0, concurrency: 0 }],
  ['paused', { ready, inFlight: 5, paused: true }],
  ['paused', { paused: true, consumers: 0, concurrency: 0 }],
  ['working', { ready, pausedWorkspaces: ['w1'] }],
  ['working', { ready, pausedWorkspaces: ['w1'] }, 'w2'],
  ['paused', { ready, pausedWorkspaces: ['w1'] }, 'w1'],
];

test('a queue is told in one word, the most telling one', () => {
  for (const [status, change, workspace] of cases) assert.equal(viewOf({ ...idle, ...change }, workspace).status, status, JSON.stringify(change));
  assert.deepEqual([...new Set(cases.map(([status]) => status))].sort(), [...QUEUE_STATUSES].sort());
});

test('the depth is what is due in all lanes, and the rest stays as it is', () => {
  assert.deepEqual(viewOf({ ...idle, ready }), { ...idle, ready, depth: 7, status: 'working' });
});
