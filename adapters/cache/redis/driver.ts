import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { SharedCache } from '../../../src/ports/cache.ts';
import { RedisCache } from './redis-cache.ts';

export const RedisSettings = z.strictObject({
  host: z.string().min(1).max(253).default('127.0.0.1'),
  port: z.int().min(1).max(65_535).default(6379),
  /** For servers with access control lists (Redis 6 and later); left out: the default user. */
  username: z.string().min(1).optional(),
  password: z.string().min(1).optional(),
  database: z.int().min(0).max(100_000).default(0),
  /** Encrypts the connection and refuses a server whose certificate does not prove its name. Without it values and password cross in the clear. */
  tls: z.boolean().default(false),
  /** PEM of the authority that signed the server's certificate; left out: those that Node trusts. */
  ca: z.string().min(1).optional(),
  /** The most that one question waits for an answer. */
  timeoutMs: z.int().min(5).max(5_000).default(50),
  /** How long a server that did not answer is left alone before it is tried again. */
  restMs: z.int().min(50).max(600_000).default(1_000),
  /** Before every key, so that several installations may use one server. */
  keyPrefix: z.string().max(64).default('multilith:'),
  /** A larger value is not stored. */
  maxValueBytes: z.int().min(1).max(100_000_000).default(512 * 1024),
  /** Questions under way; what is beyond counts as a miss. */
  mostPending: z.int().min(1).max(100_000).default(1_000),
});
export type RedisSettings = z.infer<typeof RedisSettings>;

/** Shares answers between hosts in a Redis server. */
export const redis: Driver<RedisSettings, SharedCache> = {
  name: 'redis',
  settings: RedisSettings,
  create: (settings, { clock, log, metrics }) => new RedisCache(settings, { clock, log, metrics }),
};
