import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics, createThreadMetrics } from '../../../../src/app/host/metrics.ts';
import { Edge } from '../../../../src/fabric/edge.ts';
import type { ReplicaState } from '../../../../src/fabric/replicas.ts';
import type { QueueState } from '../../../../src/ports/bus.ts';

test('counters, histograms and gauges show in the scrape; the same name is the same instrument', async () => {
  const metrics = createMetrics();
  metrics.counter('a_total', 'A.', ['kind']).add(2, { kind: 'x' });
  metrics.counter('a_total', 'A.', ['kind']).add(1, { kind: 'x' });
  metrics.histogram('b_seconds', 'B.', [], [0.1, 1]).observe(0.5);
  metrics.histogram('b_seconds', 'B.', [], [0.1, 1]).observe(0.05);
  metrics.gauge('c', 'C.', () => 1);
  metrics.gauge('c', 'C.', async () => 7);
  const text = await metrics.render();
  for (const line of ['a_total{kind="x"} 3', 'b_seconds_bucket{le="0.1"} 1', 'b_seconds_bucket{le="1"} 2', 'b_seconds_count 2', 'c 7']) assert.ok(text.includes(`${line}\n`), line);
});

test('a gauge that fails does not take the others with it', async () => {
  const metrics = createMetrics();
  metrics.gauge('broken', 'It throws.', () => {
    throw new Error('planted');
  });
  metrics.gauge('whole', 'It does not.', () => 1);
  assert.match(await metrics.render(), /^whole 1$/m);
});

test('queues show what their messages wait for, and one that is gone leaves', async () => {
  const metrics = createMetrics();
  const queue: QueueState = { name: 'q', ready: { urgent: 1, normal: 2, bulk: 3 }, waiting: 4, inFlight: 5, dead: 6, oldestMs: 1_500, paused: true, pausedWorkspaces: [], consumers: 1, concurrency: 1, lastPublished: null, lastTaken: null };
  let queues: QueueState[] = [queue];
  let reads = 0;
  metrics.watchQueues({ inspect: async () => (reads++, queues) });
  const text = await metrics.render();
  for (const line of ['{queue="q",state="ready_bulk"} 3', '{queue="q",state="waiting"} 4', '{queue="q",state="in_flight"} 5', '{queue="q",state="dead"} 6', 'multilith_queue_oldest_seconds{queue="q"} 1.5', 'multilith_queue_paused{queue="q"} 1']) assert.ok(text.includes(line), line);
  assert.equal(reads, 1);
  queues = [];
  assert.ok(!(await metrics.render()).includes('queue="q"'));
});

test('what threads count is added up with what the host counts, and stays when a thread is gone', async (t) => {
  const metrics = createMetrics();
  const thread = createThreadMetrics('mailer');
  t.after(() => thread.stop());
  const both = [metrics, thread] as const;
  both.forEach((one, n) => one.counter('a_total', 'A.', ['kind']).add(n + 1, { kind: 'x' }));
  both.forEach((one) => one.histogram('b_seconds', 'B.', [], [0.1, 1]).observe(0.5));
  thread.gauge('c', 'C.', () => 7);
  let measured = await thread.json();
  metrics.include({ measure: async () => {}, get measured() { return measured; } });
  const shown = async (...lines: string[]) => {
    const text = await metrics.render();
    for (const line of lines) assert.ok(text.includes(`${line}\n`), `${line} in ${text}`);
    assert.match(text, /^process_start_time_seconds \d/m, "the host's own figures stay as they are");
    return text;
  };
  const text = await shown('a_total{kind="x"} 3', 'b_seconds_bucket{le="1"} 2', 'b_seconds_count 2', 'c 7');
  assert.match(text, /^multilith_thread_eventloop_lag_p99_seconds\{module="mailer"\} /m);
  // It ends, and a new one begins to count; then that one ends.
  for (const already of [3, 5]) {
    metrics.bury(measured);
    measured = [];
    const left = await shown(`a_total{kind="x"} ${already}`, `b_seconds_count ${(already + 1) / 2}`);
    assert.doesNotMatch(left, /^c 7$/m);
    measured = await thread.json();
    await shown(`a_total{kind="x"} ${already + 2}`);
  }
});

test('a thread that ends while others are still asked for their figures is counted once', async (t) => {
  const metrics = createMetrics();
  const thread = createThreadMetrics('mailer');
  t.after(() => thread.stop());
  thread.counter('a_total', 'A.').add(3);
  let measured = await thread.json();
  const asked = Promise.withResolvers<void>();
  metrics.include({ measure: async () => {}, get measured() { return measured; } });
  metrics.include({ measure: () => asked.promise, measured: [] });
  const text = metrics.render();
  metrics.bury(measured);
  measured = [];
  asked.resolve();
  assert.match(await text, /^a_total 3$/m);
});

test('calls to other hosts show by their totals, and a host that has gone leaves', async () => {
  const metrics = createMetrics();
  const edge = new Edge();
  for (let calls = 0; calls < 6; calls++) edge.began();
  for (const ms of [0.5, 4, 40]) edge.ended(ms);
  edge.ended(400, 'unavailable');
  // It waited for messages.
  edge.ended(null);
  edge.retried();
  const replica = (address: string, number: number): ReplicaState => ({ address, number, process: 'p', state: 'open', pending: 1, problem: null, bytesSent: 10, bytesReceived: 20 });
  let replicas = [replica('a:1', 1), replica('b:1', 2)];
  metrics.watchEdges({ edges: () => [{ to: 'notification', host: 'mailer', via: 'rpc', totals: edge.totals() }], connections: () => [{ host: 'mailer', via: 'rpc', replicas }] });
  // A host with threads adds up what each of them counts.
  for (const withThreads of [false, true]) {
    if (withThreads) metrics.include({ measure: async () => {}, measured: [] });
    const text = await metrics.render();
    const labels = 'to="notification",host="mailer",via="rpc"';
    for (const line of [
      `multilith_edge_calls_total{${labels}} 5`,
      `multilith_edge_failures_total{${labels},code="unavailable"} 1`,
      `multilith_edge_retries_total{${labels}} 1`,
      `multilith_edge_pending{${labels}} 1`,
      `multilith_edge_seconds_bucket{${labels},le="0.001"} 1`,
      `multilith_edge_seconds_bucket{${labels},le="0.05"} 3`,
      `multilith_edge_seconds_bucket{${labels},le="+Inf"} 4`,
      `multilith_edge_seconds_count{${labels}} 4`,
      `multilith_edge_seconds_sum{${labels}} 0.4445`,
      'multilith_replica_state{host="mailer",via="rpc",replica="1",state="open"} 1',
      'multilith_replica_state{host="mailer",via="rpc",replica="1",state="closed"} 0',
      'multilith_replica_bytes_total{host="mailer",via="rpc",replica="2",direction="received"} 20',
    ]) assert.ok(text.includes(`${line}\n`), `${line}\n${text.match(/^multilith_.*$/gm)?.join('\n')}`);
  }
  replicas = [replica('b:1', 2)];
  const text = await metrics.render();
  assert.ok(!text.includes('replica="1"'));
  assert.doesNotMatch(text, /[ab]:1/, 'whoever may scrape need not know where hosts are');
});
