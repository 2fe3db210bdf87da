import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { BenchRow } from './report.ts';
import { PostgresServer } from '../support/postgres.ts';
import { redisServer } from '../support/redis.ts';

/** The peers are plain programs beside the sources, with dependencies of their own; nothing of them is compiled. */
const PEERS = join(import.meta.dirname, '../../../test/bench/peers');

/** Runs one of them; answers what it reports. */
export async function peer<T>(name: string, ...args: string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(PEERS, `${name}.mjs`), ...args], { timeout: 90_000 });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
}

/** A PostgreSQL of its own, as it comes: every commit is on disk before it is answered. */
async function onPostgres<T>(work: (url: string) => Promise<T>): Promise<T> {
  const server = new PostgresServer();
  try {
    await server.start();
    return await work(`postgres://app@127.0.0.1:${server.port}/postgres`);
  } finally {
    await server.remove();
  }
}

/** A Redis of its own, as durable as it can be. */
async function onRedis<T>(work: (port: number) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'bench-redis-'));
  const server = await redisServer('--dir', dir, '--appendonly', 'yes', '--appendfsync', 'always');
  try {
    await server.start();
    return await work(server.port);
  } finally {
    await server.kill();
    rmSync(dir, { recursive: true, force: true });
  }
}

interface QueueFigures {
  readonly publish: number;
  readonly consume: number;
}

/** Durable queues of others, each with every job on disk before it is acknowledged; 1 KB, 100 callers. */
export async function benchPeers(): Promise<BenchRow[]> {
  const bullmq = await onRedis((port) => peer<QueueFigures>('bullmq', String(port)));
  const pgBoss = await onPostgres((url) => peer<QueueFigures>('pg-boss', url));
  const graphile = await onPostgres((url) => peer<QueueFigures>('graphile-worker', url));
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
