import type { Metric, Registry } from 'prom-client';
import type { EdgeTotals } from '../../fabric/edge.ts';
import type { ReplicaState } from '../../fabric/replicas.ts';

/** What has been counted of the calls to one module. */
export interface EdgeReading {
  /** The module on a thread that calls; left out where it is the main thread. */
  readonly from?: string;
  readonly to: string;
  readonly host: string;
  readonly via: string;
  readonly totals: EdgeTotals;
}

/** How the processes of another host stand. */
export interface ReplicasReading {
  readonly host: string;
  readonly via: string;
  readonly replicas: readonly ReplicaState[];
}

/** Where the calls of this host or thread go, read at each scrape: counting costs a call nothing more. */
export interface WatchedEdges {
  edges(): readonly EdgeReading[];
  connections(): readonly ReplicasReading[];
}

interface Sample {
  /** Default: the instrument's. */
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

const STATES = ['connecting', 'open', 'closed', 'resting', 'leaving'] as const satisfies readonly ReplicaState['state'][];

/** prom-client's own counters and histograms are told of each call; these look it up. `buckets` in seconds. */
export function watchEdges(registry: Registry, watched: WatchedEdges, buckets: readonly number[]): void {
  const show = (type: 'counter' | 'gauge' | 'histogram', name: string, help: string, read: () => Sample[]) =>
    registry.registerMetric({ name, get: async () => ({ name, help, type, values: read(), aggregator: 'sum' }) } as unknown as Metric);
  const each = (samples: (labels: { readonly from?: string; readonly to: string; readonly host: string; readonly via: string }, totals: EdgeTotals) => Sample[]) => () => watched.edges().flatMap(({ totals, ...labels }) => samples(labels, totals));
  const eachReplica = (samples: (labels: { readonly host: string; readonly via: string; readonly replica: number }, replica: ReplicaState) => Sample[]) => () =>
    watched.connections().flatMap(({ host, via, replicas }) => replicas.flatMap((replica) => samples({ host, via, replica: replica.number }, replica)));

  show('counter', 'multilith_edge_calls_total', 'Calls to a module outside this process that have ended, by module, host and way.', each((labels, { calls }) => [{ labels, value: calls }]));
  show('counter', 'multilith_edge_failures_total', 'Those that failed, by the code of their fault.', each((labels, { failures }) => [...failures].map(([code, value]) => ({ labels: { ...labels, code }, value }))));
  show('counter', 'multilith_edge_retries_total', 'Tries of calls beyond the first.', each((labels, { retried }) => [{ labels, value: retried }]));
  show('gauge', 'multilith_edge_pending', 'Calls under way, those that wait for a process included.', each((labels, { pending }) => [{ labels, value: pending }]));
  const seconds = 'multilith_edge_seconds';
  show('histogram', seconds, 'From a call to its answer, retries included, without calls that wait on purpose; the bounds are 7 % exact.', each((labels, totals) => [
    ...buckets.map((le) => ({ metricName: `${seconds}_bucket`, labels: { ...labels, le }, value: totals.within(le) })),
    { metricName: `${seconds}_bucket`, labels: { ...labels, le: '+Inf' }, value: totals.timed },
    { metricName: `${seconds}_sum`, labels, value: totals.seconds },
    { metricName: `${seconds}_count`, labels, value: totals.timed },
  ]));
  show('gauge', 'multilith_replica_state', '1 for the state that a process of another host is in, as this one sees it.', eachReplica((labels, { state }) => STATES.map((one) => ({ labels: { ...labels, state: one }, value: one === state ? 1 : 0 }))));
  show('counter', 'multilith_replica_bytes_total', 'Bytes to and from a process of another host, as they crossed.', eachReplica((labels, { bytesSent, bytesReceived }) => [
    { labels: { ...labels, direction: 'sent' }, value: bytesSent },
    { labels: { ...labels, direction: 'received' }, value: bytesReceived },
  ]));
}
