import type { SystemStatus } from '../../kernel/system.ts';

/** What the hosts said at one moment. */
export interface Reading {
  readonly status: SystemStatus;
  /** Monotonic, in ms. */
  readonly atMs: number;
}

/** The connection from one process to another, or to a module on a thread, with what crosses it. Several edges may share it. */
export interface Connection {
  readonly from: string;
  readonly to: string;
  readonly via: string;
  readonly address: string;
  readonly state: string;
  readonly pending: number;
  readonly problem: string | null;
  /** Null until a second reading, and after a restart. */
  readonly sentPerSecond: number | null;
  readonly receivedPerSecond: number | null;
}

/** Every connection once, its bytes a second from what has been counted between the two readings. */
export function connectionsOf({ status, atMs }: Reading, before: Reading | undefined): Connection[] {
  const seconds = before === undefined ? 0 : (atMs - before.atMs) / 1_000;
  const earlier = before === undefined ? new Map<string, Counted>() : countedIn(before.status);
  return [...countedIn(status)].map(([key, { bytesSent, bytesReceived, ...connection }]) => {
    const then = earlier.get(key);
    const rate = (now: number, past: number | undefined) => (past === undefined || now < past || seconds <= 0 ? null : (now - past) / seconds);
    return { ...connection, sentPerSecond: rate(bytesSent, then?.bytesSent), receivedPerSecond: rate(bytesReceived, then?.bytesReceived) };
  });
}

interface Counted extends Omit<Connection, 'sentPerSecond' | 'receivedPerSecond'> {
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

function countedIn({ hosts }: SystemStatus): Map<string, Counted> {
  const found = new Map<string, Counted>();
  for (const { host: self, process, edges } of hosts)
    for (const { from = self, to: module, host, via, replicas } of edges)
      for (const { address, state, pending, problem, bytesSent, bytesReceived } of replicas) {
        const to = host === from ? module : host;
        found.set(`${process} ${from} ${to} ${via} ${address}`, { from, to, via, address, state, pending, problem, bytesSent, bytesReceived });
      }
  return found;
}
