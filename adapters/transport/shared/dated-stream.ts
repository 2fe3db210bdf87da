import type { Duplex } from 'node:stream';
import type { EpochMs } from '../../../src/kernel/clock.ts';

/** A stream within one machine, whose ends share a clock: it tells how long what it brings was on its way. */
export interface DatedStream extends Duplex {
  /** When what is read just now was written. */
  readonly writtenAt: EpochMs;
}

export function isDated(stream: Duplex): stream is DatedStream {
  return 'writtenAt' in stream;
}
