import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Metrics } from '../../kernel/telemetry.ts';
import type { Bus, QueueState } from '../../ports/bus.ts';

export interface HostMetrics extends Metrics {
  /** Prometheus' text format, version 0.0.4. A gauge that fails is left out, the rest is there. */
  render(): Promise<string>;
  readonly contentType: string;
  /** From now on each scrape shows the depth of every queue. */
  watchQueues(bus: Pick<Bus, 'inspect'>): void;
}

/** Seconds; from a call in the same process to a mail server that takes its time. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** No gauge may hold up a scrape for longer. */
const READ_MS = 2_000;

export function createMetrics(): HostMetrics {
  const registry = new Registry();
  // Event-loop delay, resident memory, heap, garbage collection, open handles.
  collectDefaultMetrics({ register: registry });
  return {
    counter: (name, help, labelNames = []) => {
      const counter = (registry.getSingleMetric(name) as Counter | undefined) ?? new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
      return { add: (amount = 1, labels = {}) => counter.inc(labels, amount) };
    },
    histogram: (name, help, labelNames = [], buckets = BUCKETS) => {
      const histogram = (registry.getSingleMetric(name) as Histogram | undefined) ?? new Histogram({ name, help, labelNames: [...labelNames], buckets: [...buckets], registers: [registry] });
      return { observe: (value, labels = {}) => histogram.observe(labels, value) };
    },
    gauge: (name, help, read) => {
      registry.removeSingleMetric(name);
      new Gauge({
        name,
        help,
        registers: [registry],
        async collect() {
          this.set((await inTime(read)) ?? Number.NaN);
        },
      });
    },
    render: () => registry.metrics(),
    contentType: registry.contentType,
    watchQueues: (bus) => watchQueues(registry, bus),
  };
}

function watchQueues(registry: Registry, bus: Pick<Bus, 'inspect'>): void {
  const states = shared(() => bus.inspect());
  const gauge = (name: string, help: string, labelNames: string[], show: (gauge: Gauge, state: QueueState) => void) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        this.reset();
        for (const state of (await states()) ?? []) show(this, state);
      },
    });
  gauge('multilith_queue_messages', 'Messages of a queue by what they wait for.', ['queue', 'state'], (messages, { name: queue, ready, waiting, inFlight, dead }) => {
    const counts = { ready_urgent: ready.urgent, ready_normal: ready.normal, ready_bulk: ready.bulk, waiting, in_flight: inFlight, dead };
    for (const [state, count] of Object.entries(counts)) messages.set({ queue, state }, count);
  });
  gauge('multilith_queue_oldest_seconds', 'Age of the oldest message that is due; 0 when there is none.', ['queue'], (oldest, { name: queue, oldestMs }) => oldest.set({ queue }, (oldestMs ?? 0) / 1_000));
  gauge('multilith_queue_paused', '1 when staff have paused the queue.', ['queue'], (flag, { name: queue, paused }) => flag.set({ queue }, paused ? 1 : 0));
}

/** One read for all the gauges of a scrape. */
function shared<T>(read: () => Promise<T>): () => Promise<T | undefined> {
  let underWay: Promise<T | undefined> | undefined;
  return () => (underWay ??= inTime(read).finally(() => (underWay = undefined)));
}

async function inTime<T>(read: () => T | Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([Promise.resolve(read()), new Promise<undefined>((resolve) => (timer = setTimeout(resolve, READ_MS, undefined)))]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
