import { Fault } from '../kernel/fault.ts';
import { Undecided } from './gate.ts';

/** Remembers over restarts. What it was told last is safely on disk when it resolves. */
export interface LiveMoveLedger {
  /** The old side counts, and what the new one holds is worth nothing. */
  begin(): Promise<void>;
  /** The old side counts, and the new one follows. */
  following(): Promise<void>;
  /** The new side counts, and the old one follows. */
  switched(): Promise<void>;
  /** The old side counts again. */
  back(): Promise<void>;
  /** The new side counts, and the old one is let go. */
  finish(): Promise<void>;
}

/** If not even the old line can be written again, what stands on the disk is anybody's guess, and neither side may be written to. */
export async function decide(note: () => Promise<void>, undo: () => Promise<void>): Promise<void> {
  try {
    await note();
  } catch (thrown) {
    await undo().catch((cause: unknown) => {
      throw new Undecided(new Fault('unavailable', 'Which storage counts could not be written down; restart the host.', { reason: 'move_undecided', cause }));
    });
    throw thrown;
  }
}
