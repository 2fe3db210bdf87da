import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workerQueues } from '../../../../src/app/config/worker-queues.ts';
import { parts } from '../../../../src/app/parts.ts';

test('what is personal in an event is redacted in the queues that wait for it, too', () => {
  const settings = parts.bus.activemq!.settings.parse({ workers: { scores: { events: ['portal.event-recorded', 'portal.person-changed'], ordered: true, attempts: 5, backoff: { firstMs: 10 } }, letters: {} } });
  const [scores, letters] = workerQueues({ driver: 'activemq', settings }, parts);
  assert.deepEqual(scores, {
    name: 'worker.scores', topics: ['portal.event-recorded', 'portal.person-changed'], ordered: true, attempts: 5, delayMs: 0,
    backoff: { firstMs: 10, factor: 2, mostMs: 3_600_000, jitter: 0.2 }, personal: ['properties', 'person'],
  });
  assert.deepEqual([letters!.name, letters!.topics, letters!.personal], ['worker.letters', [], []]);
});

test('a bus that only the modules reach has none', () => {
  assert.deepEqual(workerQueues({ driver: 'embedded', settings: parts.bus.embedded!.settings.parse({}) }, parts), []);
});
