import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { BenchRow } from './report.ts';
import { type Server, startPostgres, startRedis } from './servers.ts';

/** The peers are plain programs beside the sources, with dependencies of their own; nothing of them is compiled. */
const PEERS = join(import.meta.dirname, '../../../test/bench/peers');

/** Runs one of them; answers what it reports. */
export async function peer<T>(name: string, ...args: string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(PEERS, `${name}.mjs`), ...args], { timeout: 90_000 });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
}

async function on<T>(server: Server, work: (server: Server) => Promise<T>): Promise<T> {
  try {
    return await work(server);
  } finally {
    await server.stop();
  }
}

interface QueueFigures {
  readonly publish: number;
  readonly consume: number;
}

/** Durable queues of others, each with every job on disk before it is acknowledged; 1 KB, 100 callers. */
export async function benchPeers(): Promise<BenchRow[]> {
  const bullmq = await on(await startRedis(), ({ port }) => peer<QueueFigures>('bullmq', String(port)));
  const url = ({ port }: Server): string => `postgres://bench@127.0.0.1:${port}/postgres`;
  const pgBoss = await on(await startPostgres(), (server) => peer<QueueFigures>('pg-boss', url(server)));
  const graphile = await on(await startPostgres(), (server) => peer<QueueFigures>('graphile-worker', url(server)));
  const moleculer = await peer<{ over: number }>('moleculer');
  return [
    ...rows('bullmq', bullmq, 'Redis, appendfsync always'),
    ...rows('pg-boss', pgBoss, 'PostgreSQL, batches of 100'),
    ...rows('graphile-worker', graphile, 'PostgreSQL, localQueue 500'),
    { name: 'peer.moleculer.local-call-over-the-bare-method', value: moleculer.over, unit: 'ns' },
  ];
}

function rows(name: string, { publish, consume }: QueueFigures, note: string): BenchRow[] {
  return [
    { name: `peer.${name}.publish`, value: publish, unit: '/s', note },
    { name: `peer.${name}.consume`, value: consume, unit: '/s', note },
  ];
}
