import { Fault } from './fault.ts';

/** A place in a list that is ordered by time and a key. */
export interface Place {
  readonly time: number;
  readonly key: string;
}

/** Where a list goes on, for a caller to hand back as it is. */
export function writeCursor({ time, key }: Place): string {
  return Buffer.from(`${time}:${key}`).toString('base64url');
}

/** Fault `invalid` with reason `cursor_invalid` for what no list has answered. */
export function readCursor(cursor: string): Place {
  const found = /^(\d{1,15}):(.{1,500})$/s.exec(Buffer.from(cursor.slice(0, 1_000), 'base64url').toString());
  if (found === null) throw new Fault('invalid', 'The cursor is not one that a list has answered.', { reason: 'cursor_invalid' });
  return { time: Number(found[1]), key: found[2]! };
}
