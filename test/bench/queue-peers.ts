import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PostgresServer } from '../support/postgres.ts';
import { redisServer } from '../support/redis.ts';
import { peer } from './peers.ts';

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

/** Messages a second. */
export interface QueueFigures {
  readonly publish: number;
  readonly consume: number;
}

/** Durable queues of others by name, each with every job on disk before it is acknowledged; 1 KB, 100 callers. */
export const queuePeers = {
  /** Redis with appendfsync always. */
  bullmq: () => onRedis((port) => peer<QueueFigures>('bullmq', String(port))),
  /** Fetches and completes by batches of 100. */
  'pg-boss': () => onPostgres((url) => peer<QueueFigures>('pg-boss', url)),
  /** With a local queue of 500. */
  'graphile-worker': () => onPostgres((url) => peer<QueueFigures>('graphile-worker', url)),
} as const satisfies Record<string, () => Promise<QueueFigures>>;
export type QueuePeer = keyof typeof queuePeers;
