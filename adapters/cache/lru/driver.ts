import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { LocalCache } from '../../../src/ports/cache.ts';
import { LruLocalCache } from './lru-local-cache.ts';

export const LruSettings = z.strictObject({
  /** Answers kept at once, at most. */
  entries: z.int().min(1).max(5_000_000).default(50_000),
  /** Memory that they may take in all, roughly; one that alone would take more is not kept. */
  maxBytes: z.int().min(1_000).default(64 * 1024 * 1024),
});
export type LruSettings = z.infer<typeof LruSettings>;

/** Keeps answers in this process; the least recently used go first. */
export const lru: Driver<LruSettings, LocalCache> = {
  name: 'lru',
  settings: LruSettings,
  create: (settings) => new LruLocalCache(settings),
};
