import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/** A young generation this large is collected seldom enough. Booting fills more. */
const YOUNG_ENOUGH_BYTES = 8 * 1_048_576;

/**
 * Makes V8 collect sooner instead of taking more memory. Left alone it lets the young generation grow to 100 MB when
 * much is under way at once, and the old one to four times what is in use; a server of 2 GB has better uses for that.
 * To be called when the host is ready. A V8 that does not know a flag says so on standard error and goes on.
 */
export function keepHeapSmall(): void {
  // Helpers cost more than they save while little survives, and on a busy machine the event loop waits for them.
  setFlagsFromString('--no-parallel-scavenge');
  // Of the old generation, what may be added to what the last collection left.
  setFlagsFromString('--heap-growing-percent=100');
  if (youngBytes() < YOUNG_ENOUGH_BYTES) return;
  // Threads begin later, and would stay at what they begin with.
  setFlagsFromString('--min-semi-space-size=4');
  setFlagsFromString('--semi-space-growth-factor=1');
}

export function youngBytes(): number {
  return getHeapSpaceStatistics().find((space) => space.space_name === 'new_space')?.physical_space_size ?? 0;
}
