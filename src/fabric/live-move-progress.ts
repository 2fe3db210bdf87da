import { toFault } from '../kernel/fault.ts';
import type { ReadFigures } from './compared-reads.ts';
import type { TableComparison } from './storage-compare.ts';

/** How far a live move is, for people and programs. */
export interface LiveMoveProgress {
  /**
   * `copying` → `comparing` → `switched` → `finished` or `back`. With reads to be compared `following` before the switch:
   * the old side counts, the new one follows; then `comparing` → `switched`, or `back`. `failed`: the old side counts, as
   * before, and asking again begins anew.
   */
  readonly state: 'copying' | 'comparing' | 'following' | 'switched' | 'finished' | 'back' | 'failed';
  readonly from: string;
  readonly to: string;
  /** The table that is being copied or compared, and how many of its rows are done. */
  readonly table: string | null;
  readonly rows: number;
  /** Changes made meanwhile that were carried over, in either direction. */
  readonly changes: number;
  /** For how long transactions were held back at most, ms. */
  readonly longestHoldMs: number;
  /** What both sides held when they were compared last. */
  readonly compared: readonly TableComparison[];
  /** What came of reads that both sides were asked for; null when none were to be. */
  readonly reads: ReadFigures | null;
  /** Why it has failed, why the side that does not count does not follow just now, or that reads differ. */
  readonly problem: string | null;
}

/** For people: what has gone wrong, and what to do. */
export function problemIn(thrown: unknown): string {
  const { message, details } = toFault(thrown);
  return typeof details.remedy === 'string' ? `${message} ${details.remedy}` : message;
}
