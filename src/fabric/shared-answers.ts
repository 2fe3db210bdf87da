import type { z } from 'zod';
import type { EpochMs } from '../kernel/clock.ts';
import type { SharedCache } from '../ports/cache.ts';
import { sameJson } from './json-values.ts';

/** Stands where an entry was dropped, for as long as a fill that began before the drop may still come. */
const TOMBSTONE = 'dropped';

export interface SharedAnswer {
  readonly value: unknown;
  readonly askedAt: EpochMs;
}

/**
 * One operation's answers in the tier that hosts share. What comes out of it is somebody else's word: an answer counts
 * only under the very key and for the very request that it was stored for, and when the contract allows it.
 */
export class SharedAnswers {
  readonly #cache: SharedCache;
  readonly #output: z.ZodType;

  constructor(cache: SharedCache, output: z.ZodType) {
    this.#cache = cache;
    this.#output = output;
  }

  get reachable(): boolean {
    return this.#cache.reachable;
  }

  async find(key: string, request: unknown): Promise<SharedAnswer | undefined> {
    const text = await this.#cache.get(key);
    if (text === undefined || text === TOMBSTONE) return undefined;
    const record = parse(text);
    if (record === undefined || record.key !== key || typeof record.askedAt !== 'number' || !sameJson(record.request, request)) return undefined;
    return this.#output.safeParse(record.value).success ? { value: record.value, askedAt: record.askedAt } : undefined;
  }

  /** Nothing when something stands there: an answer that is good enough, or a drop's mark. */
  add(key: string, request: unknown, { value, askedAt }: SharedAnswer, ttlMs: number): void {
    if (this.#cache.reachable) void this.#cache.add(key, JSON.stringify({ key, askedAt, request, value }), ttlMs);
  }

  drop(key: string, forMs: number): void {
    if (this.#cache.reachable) void this.#cache.set(key, TOMBSTONE, forMs);
  }
}

function parse(text: string): { readonly key?: unknown; readonly askedAt?: unknown; readonly request?: unknown; readonly value?: unknown } | undefined {
  try {
    const record: unknown = JSON.parse(text);
    return typeof record === 'object' && record !== null ? record : undefined;
  } catch {
    return undefined;
  }
}
