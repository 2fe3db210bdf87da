import { Fault } from '../../../src/kernel/fault.ts';

/** A place in a list: a time and, among equal times, an id. */
export interface Place {
  readonly time: number;
  readonly id: string;
}

export function cursorOf({ time, id }: Place): string {
  return Buffer.from(JSON.stringify([time, id])).toString('base64url');
}

/** Fault `invalid` for text that is no cursor of ours. */
export function placeOf(cursor: string): Place {
  try {
    const place: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (Array.isArray(place) && place.length === 2 && Number.isSafeInteger(place[0]) && typeof place[1] === 'string') return { time: place[0] as number, id: place[1] };
  } catch {
    // Falls through: how it is wrong does not matter.
  }
  throw new Fault('invalid', '`after` is not a cursor. Pass on `next` from the page before, unchanged.');
}
