import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { SharedCache } from '../../../src/ports/cache.ts';
import { MemcachedCache } from './memcached-cache.ts';

function isAddress(text: string): boolean {
  const port = Number(/^(?:\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):(\d{1,5})$/.exec(text)?.[1]);
  return port >= 1 && port <= 65_535;
}

export const MemcachedSettings = z.strictObject({
  /** `host:port` (`[::1]:11211`) each. Keys are spread over them by hash: the same list, in the same order, on every host. */
  servers: z.array(z.string().refine(isAddress, { error: 'expected host:port' })).min(1).max(32).default(['127.0.0.1:11211']),
  /** The most that one question waits for an answer. */
  timeoutMs: z.int().min(5).max(5_000).default(50),
  /** How long a server that did not answer is left alone before it is tried again. */
  restMs: z.int().min(50).max(600_000).default(1_000),
  /** Before every key, so that several installations may use one server. Letters, digits and `:._-`. */
  keyPrefix: z.string().regex(/^[A-Za-z0-9:._-]{0,64}$/).default('multilith:'),
  /** A larger value is not stored. memcached itself refuses what is over 1 MB with its key, unless started with -I. */
  maxValueBytes: z.int().min(1).max(100_000_000).default(512 * 1024),
  /** Questions under way per server; what is beyond counts as a miss. */
  mostPending: z.int().min(1).max(100_000).default(1_000),
});
export type MemcachedSettings = z.infer<typeof MemcachedSettings>;

/** Shares answers between hosts in one or more memcached servers. */
export const memcached: Driver<MemcachedSettings, SharedCache> = {
  name: 'memcached',
  settings: MemcachedSettings,
  create: (settings, { clock, log, metrics }) => new MemcachedCache(settings, { clock, log, metrics }),
};
