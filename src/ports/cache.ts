import type { EpochMs } from '../kernel/clock.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';

/** An answer that is kept. */
export interface Kept {
  readonly value: unknown;
  /** When the call that fetched it was made: its age counts from there. */
  readonly askedAt: EpochMs;
  /** Memory that it takes, roughly. */
  readonly bytes: number;
}

/** The first tier: in this process, bounded by entries and memory, never waits. Least recently used go first. */
export interface LocalCache {
  /** The very object that was set. */
  get(key: string): Kept | undefined;
  set(key: string, kept: Kept): void;
  delete(key: string): void;
  clear(): void;
  readonly size: number;
}

/**
 * The second tier, which hosts have in common. Never an error and never a wait beyond the driver's time-out: a server
 * that is away, frozen or talking nonsense is a miss, and after one such time-out for a while it is not asked at all.
 */
export interface SharedCache extends Lifecycle {
  /** JSON text, or undefined. */
  get(key: string): Promise<string | undefined>;
  /** Stores only where nothing stands, so that a drop's mark is not overwritten by a fill that began before it. */
  add(key: string, text: string, ttlMs: number): Promise<void>;
  /** Stores whatever stands there. */
  set(key: string, text: string, ttlMs: number): Promise<void>;
  /** False while every server is left alone after a time-out or an error. */
  readonly reachable: boolean;
  /** Where servers are left alone just now, for people; empty when all is well. */
  readonly away: readonly string[];
}
