import { join } from 'node:path';
import { z } from 'zod';
import type { MoveLedger } from '../../fabric/bus-move.ts';
import { readRecord, replaceDurably } from './durable-file.ts';

const FILE = 'bus-move.json';
const MoveRecord = z.strictObject({
  /** Where the messages came from, and where they go: places as the buses name them. */
  from: z.string(),
  to: z.string(),
  /** The topology whose bus that is, absolute. */
  topology: z.string(),
  /** Queues that lie there already. */
  moved: z.array(z.string()),
  /** The topology of `from`, absolute, where the messages had been on their way there and are taken back; else null. */
  back: z.string().nullable().default(null),
  /** All of them do: no start with another bus than `to`. */
  isOver: z.boolean(),
});
export type MoveRecord = z.infer<typeof MoveRecord>;

/** What the data directory says of a move of the messages that was begun there; undefined when none ever was. @throws BootProblem when it cannot be read. */
export function readMove(dataDir: string): MoveRecord | undefined {
  return readRecord(join(dataDir, FILE), MoveRecord, 'It says in which bus the messages are.');
}

/** Keeps the record of a move in the data directory; each note is on disk, whole, before the next step. */
export function moveFile(dataDir: string, move: Pick<MoveRecord, 'from' | 'to' | 'topology' | 'back'>): MoveLedger {
  const path = join(dataDir, FILE);
  let isOver = false;
  let writing: Promise<void> = Promise.resolve();
  // One after the other, so that the last word is the last.
  const write = (state: () => Pick<MoveRecord, 'moved' | 'isOver'>): Promise<void> => {
    const written = writing.then(() => replaceDurably(path, `${JSON.stringify({ ...move, ...state() })}\n`));
    writing = written.catch(() => {});
    return written;
  };
  return {
    // A queue that comes up in the last moment lies there as all others do.
    note: (moved) => write(() => (isOver ? { moved: [], isOver } : { moved: [...moved], isOver })),
    close: () => {
      isOver = true;
      return write(() => ({ moved: [], isOver }));
    },
  };
}
