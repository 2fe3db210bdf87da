import { monitorEventLoopDelay } from 'node:perf_hooks';
import { AggregatorRegistry, collectDefaultMetrics, Counter, Gauge, Histogram, type MetricObjectWithValues, type MetricValue, Registry } from 'prom-client';
import type { Metrics } from '../../kernel/telemetry.ts';
import type { Bus, QueueState } from '../../ports/bus.ts';
import { watchEdges, type WatchedEdges } from './edge-metrics.ts';
import { inTime } from './in-time.ts';

/** The metrics of one thread at one time. */
export type Measured = readonly MetricObjectWithValues<MetricValue<string>>[];

export interface HostMetrics extends Metrics {
  /** Prometheus' text format, version 0.0.4. A gauge that fails is left out, the rest is there. */
  render(): Promise<string>;
  readonly contentType: string;
  /** From now on each scrape shows the depth of every queue. */
  watchQueues(bus: Pick<Bus, 'inspect'>): void;
  /** From now on each scrape shows the calls to modules outside this process. */
  watchEdges(watched: WatchedEdges): void;
  /** Shows these too from now on: figures of the same name and labels are added up. */
  include(thread: MeasuredThread): void;
  /** Keeps what was counted by a thread that is no more, so that no count falls. */
  bury(measured: Measured): void;
}

/** A thread whose figures the host shows with its own. */
export interface MeasuredThread {
  /** Brings `measured` up to now. Waits for nobody, and never rejects. */
  measure(): Promise<void>;
  /** Without what was buried. */
  readonly measured: Measured;
}

/** The metrics of a thread; what belongs to the whole process is the host's to show. */
export interface ThreadMetrics extends Metrics {
  json(): Promise<Measured>;
  /** From now on its figures include the calls that its module makes. */
  watchEdges(edges: WatchedEdges['edges']): void;
  /** Closes what it measures with. */
  stop(): void;
}

/** Seconds; from a call in the same process to a mail server that takes its time. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** No gauge may hold up a scrape for longer. */
const READ_MS = 2_000;

export function createMetrics(): HostMetrics {
  const registry = new Registry();
  // Event-loop delay, resident memory, heap, garbage collection, open handles.
  collectDefaultMetrics({ register: registry });
  const threads: MeasuredThread[] = [];
  let buried: Measured = [];
  return {
    ...instruments(registry),
    render: async () => {
      if (threads.length === 0) return registry.metrics();
      const [own] = await Promise.all([registry.getMetricsAsJSON(), ...threads.map((thread) => thread.measure())]);
      // All of one moment: a thread that has ended meanwhile counts once.
      return addedUp([own as Measured, buried, ...threads.map(({ measured }) => measured)]).metrics();
    },
    contentType: registry.contentType,
    watchQueues: (bus) => watchQueues(registry, bus),
    watchEdges: (watched) => watchEdges(registry, watched, BUCKETS),
    include: (thread) => void threads.push(thread),
    bury: (measured) => {
      const counts = measured.filter(({ type }) => ['counter', 'histogram'].includes(type as unknown as string));
      if (counts.length > 0) buried = (addedUp([buried, counts]).getMetricsAsArray() as unknown as Measured).map((metric) => ({ ...metric, aggregator: 'sum' }));
    },
  };
}

export function createThreadMetrics(module: string): ThreadMetrics {
  const registry = new Registry();
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  new Gauge({
    name: 'multilith_thread_eventloop_lag_p99_seconds',
    help: "How late the event loop of a module's thread was since the last scrape.",
    labelNames: ['module'],
    registers: [registry],
    collect() {
      this.set({ module }, delay.percentile(99) / 1e9);
      delay.reset();
    },
  });
  return { ...instruments(registry), json: async () => (await registry.getMetricsAsJSON()) as Measured, watchEdges: (edges) => watchEdges(registry, { edges, connections: () => [] }, BUCKETS), stop: () => void delay.disable() };
}

function instruments(registry: Registry): Metrics {
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
          this.set((await inTime(read, READ_MS)) ?? Number.NaN);
        },
      });
    },
  };
}

/** Metrics of several threads as one. What only one of them has stays as it is, whatever it says of adding up. */
function addedUp(measured: readonly Measured[]): Registry {
  const times = Map.groupBy(measured.flat(), ({ name }) => name);
  return AggregatorRegistry.aggregate(measured.map((metrics) => metrics.map((metric) => (times.get(metric.name)!.length > 1 ? metric : { ...metric, aggregator: 'first' }))) as object[]);
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
  return () => (underWay ??= inTime(read, READ_MS).finally(() => (underWay = undefined)));
}
