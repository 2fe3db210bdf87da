import type { Duplex } from 'node:stream';
import type { EpochMs } from '../../../src/kernel/clock.ts';

/**
 * A stream through memory that both ends see, within one machine and by one clock. It copies what it is given: once
 * nothing is left to write (`writableLength` is 0), whoever wrote may use that memory again.
 */
export interface MemoryStream extends Duplex {
  /** When what is read just now was written. */
  readonly writtenAt: EpochMs;
}

export function isMemoryStream(stream: Duplex): stream is MemoryStream {
  return 'writtenAt' in stream;
}
