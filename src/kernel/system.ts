import { z } from 'zod';
import type { Call } from './call.ts';
import { contract, query } from './contract.ts';

const Replica = z.object({
  address: z.string(),
  /** Of the processes of its host as the caller knows them, from 1 on: `replica` in the metrics. Unknown when left out. */
  number: z.int().optional(),
  /** Null while nobody has answered there. */
  process: z.string().nullable(),
  /** `resting`: its calls failed too often, it is tried again soon. `leaving`: it gets nothing new. */
  state: z.enum(['connecting', 'open', 'closed', 'resting', 'leaving']),
  pending: z.int(),
  problem: z.string().nullable(),
  bytesSent: z.int(),
  bytesReceived: z.int(),
});

const CacheFigures = z.object({
  entries: z.int(),
  hits: z.int(),
  sharedHits: z.int(),
  misses: z.int(),
  /** Answered with an old answer since the callee was away. */
  stale: z.int(),
  drops: z.int(),
  /** Null without a second tier. */
  sharedReachable: z.boolean().nullable(),
});

/** One module that is called from a host, in a thread or over the network. */
const Edge = z.object({
  /** The module that calls, where it runs on a thread of its own; else it is whoever runs on the main thread. */
  from: z.string().optional(),
  to: z.string(),
  host: z.string(),
  via: z.string(),
  callsPerSecond: z.number(),
  failedPerSecond: z.number(),
  /** Of the last minute, without calls that wait on purpose. */
  p50Ms: z.number().nullable(),
  p99Ms: z.number().nullable(),
  calls: z.int(),
  failed: z.int(),
  retried: z.int(),
  /** Under way now. */
  pending: z.int(),
  replicas: z.array(Replica),
  cache: CacheFigures.nullable(),
});
export type EdgeStatus = z.infer<typeof Edge>;

const Module = z.object({
  name: z.string(),
  placement: z.enum(['inline', 'thread']),
  state: z.enum(['starting', 'running', 'restarting', 'stopped']),
  /** Of its thread, since the start of the host. */
  restarts: z.int(),
  problem: z.string().nullable(),
});
export type ModuleStatus = z.infer<typeof Module>;

const Queue = z.object({
  name: z.string(),
  ready: z.int(),
  waiting: z.int(),
  inFlight: z.int(),
  dead: z.int(),
  oldestMs: z.int().nullable(),
  paused: z.boolean(),
  /** For how many workspaces it is paused beside; unknown when left out. */
  pausedWorkspaces: z.int().optional(),
});

/** One process of the topology, as it sees itself. */
export const HostStatus = z.object({
  host: z.string(),
  /** Another one after a restart. */
  process: z.string(),
  address: z.string().nullable(),
  /** A fingerprint of what the hosts of one installation have in common. */
  installation: z.string(),
  phase: z.enum(['starting', 'ready', 'stopping']),
  uptimeSeconds: z.int(),
  memoryMb: z.int(),
  modules: z.array(Module),
  edges: z.array(Edge),
  /** Null where another host keeps the messages, and while they cannot be read. */
  queues: z.array(Queue).nullable(),
  /** What does not work just now though the host runs, for people. */
  problems: z.array(z.string()),
});
export type HostStatus = z.infer<typeof HostStatus>;

/** All hosts of the topology, one entry for each process, and the ones that cannot be asked with the reason. */
export const SystemStatus = z.object({
  /** The process that was asked comes first. */
  hosts: z.array(HostStatus),
  unreachable: z.array(z.object({ host: z.string(), address: z.string().nullable(), problem: z.string() })),
});
export type SystemStatus = z.infer<typeof SystemStatus>;

/** How the installation is doing, asked of every host at once. */
export interface System {
  /** Takes 1.5 s at most: hosts that have not answered by then are listed as unreachable. Never fails. */
  status(call: Call): Promise<SystemStatus>;
}
export const System = Symbol.for('multilith.System');

const Empty = z.object({});

/** No host holds up the view of the others for longer. */
export const STATUS_MS = 1_500;

/** What every host answers to the other hosts of its topology. */
export interface HostDesk {
  status(request: z.infer<typeof Empty>, call: Call): Promise<HostStatus>;
}
export const hostDesk = contract<HostDesk>('host', {
  status: query({ input: Empty, output: HostStatus, timeoutMs: STATUS_MS }),
});
