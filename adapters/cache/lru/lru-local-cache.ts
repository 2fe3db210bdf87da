import { LRUCache } from 'lru-cache';
import type { Kept, LocalCache } from '../../../src/ports/cache.ts';
import type { LruSettings } from './driver.ts';

/** Has no time of its own: how old an answer may be is for whoever asked to judge. */
export class LruLocalCache implements LocalCache {
  readonly #kept: LRUCache<string, Kept>;

  constructor({ entries, maxBytes }: LruSettings) {
    this.#kept = new LRUCache({ max: entries, maxSize: maxBytes });
  }

  get(key: string): Kept | undefined {
    return this.#kept.get(key);
  }

  set(key: string, kept: Kept): void {
    this.#kept.set(key, kept, { size: Math.max(1, kept.bytes) });
  }

  delete(key: string): void {
    this.#kept.delete(key);
  }

  clear(): void {
    this.#kept.clear();
  }

  get size(): number {
    return this.#kept.size;
  }
}
