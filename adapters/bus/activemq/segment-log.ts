import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import type { Connection, Delivery, Frame } from './connection.ts';

/** What one frame carries: well below what brokers take (`wireFormat.maxFrameSize`). */
const PART_BYTES = 256 * 1024;
/** A segment is closed when it has so many frames or bytes. It is read as a whole, which the broker holds in memory meanwhile. */
const SEGMENT_FRAMES = 200;
const SEGMENT_BYTES = 4 * 1024 * 1024;
/** More than the frames of any segment: a record of 64 MB and what may stand before it. */
const READ_PREFETCH = 1_000;

/** Of the two queues of a segment, the one that holds it. */
type Side = 'a' | 'b';

/** Where the next record goes. */
export interface Place {
  readonly segment: number;
  readonly side: Side;
  /** How often it was moved. */
  readonly moves: number;
  readonly frames: number;
  readonly bytes: number;
}

export const START: Place = { segment: 0, side: 'a', moves: 0, frames: 0, bytes: 0 };

/** What was appended at once, under the number of the last that it holds. Numbers never fall, but the same may come twice. */
export interface LoggedRecord {
  readonly number: number;
  readonly text: string;
}

/**
 * Records in the order of appending, in segments that are short enough to be read whole. A queue of the broker can only
 * be read from its head, and what was read without being acknowledged stays in the broker's memory for good. So a
 * segment has two queues, and reading it moves it from the one to the other: first it is there, in one transaction,
 * then it goes here. Where both hold it, a move was cut short, and the one that was moved more often is whole.
 */
export class SegmentLog {
  readonly #name: string;

  /** `name` begins every queue's. */
  constructor(name: string) {
    this.#name = name;
  }

  /** The frames of one record and where the one behind it goes. */
  frames({ number, text }: LoggedRecord, at: Place): { readonly frames: Frame[]; readonly next: Place } {
    const body = Buffer.from(text);
    const parts = Math.max(1, Math.ceil(body.length / PART_BYTES));
    const frames = at.frames + parts;
    const bytes = at.bytes + body.length;
    const closes = frames >= SEGMENT_FRAMES || bytes >= SEGMENT_BYTES;
    return {
      frames: Array.from({ length: parts }, (_, part) => ({
        destination: this.#queue(at.segment, at.side),
        headers: { moves: String(at.moves), record: String(number), part: String(part), parts: String(parts), ...(closes && part === parts - 1 ? { closes: 'true' } : {}) },
        body: body.subarray(part * PART_BYTES, (part + 1) * PART_BYTES),
      })),
      next: closes ? { ...START, segment: at.segment + 1 } : { ...at, frames, bytes },
    };
  }

  /** Reads from a segment's beginning to the end of the log, a segment at a time, and answers where the next record goes. */
  async read(connection: Connection, from: number, take: (records: readonly LoggedRecord[]) => Promise<void>): Promise<Place> {
    for (let segment = from; ; segment++) {
      const { frames, side, moves, closed, leave } = await this.#open(connection, segment);
      if (frames.length === 0) {
        leave();
        return { ...START, segment };
      }
      const other = side === 'a' ? 'b' : 'a';
      await connection.deliver(frames.map((frame) => again(frame, this.#queue(segment, other), moves + 1)));
      await connection.acknowledge(frames);
      leave();
      await take(recordsOf(frames));
      if (!closed) return { segment, side: other, moves: moves + 1, frames: frames.length, bytes: frames.reduce((sum, { body }) => sum + body.length, 0) };
    }
  }

  /** Deletes everything, the last first, so that a removal that was cut short can be made again. `last`: the last segment, null where nobody knows it. */
  async remove(connection: Connection, last: number | null): Promise<void> {
    for (let segment = last ?? (await this.read(connection, 0, async () => {})).segment; segment >= 0; segment--) {
      const { frames, leave } = await this.#open(connection, segment);
      if (frames.length > 0) await connection.acknowledge(frames);
      leave();
    }
  }

  async #open(connection: Connection, segment: number): Promise<Opened> {
    const [a, b] = [await this.#openSide(connection, segment, 'a'), await this.#openSide(connection, segment, 'b')];
    const [whole, rest] = a.moves > b.moves ? [a, b] : [b, a];
    if (rest.frames.length > 0) await connection.acknowledge(rest.frames);
    rest.leave();
    return whole;
  }

  /** All that is in one queue just now: what comes before a mark that is put behind it. */
  async #openSide(connection: Connection, segment: number, side: Side): Promise<Opened> {
    const own = newId();
    const frames: Delivery[] = [];
    const reached = Promise.withResolvers<void>();
    const leave = connection.subscribe(this.#queue(segment, side), { prefetch: READ_PREFETCH }, (delivery) => {
      const { mark } = delivery.headers;
      if (mark === undefined) return void frames.push(delivery);
      connection.acknowledge([delivery]).catch(() => {});
      if (mark === own) reached.resolve();
    });
    // Persistent as the records are: the broker keeps the order only among messages of one kind.
    await connection.deliver([{ destination: this.#queue(segment, side), headers: { mark: own }, body: Buffer.alloc(0) }]);
    await connection.soon(reached.promise);
    return { frames, side, moves: Number(frames[0]?.headers.moves ?? -1), closed: frames.at(-1)?.headers.closes === 'true', leave };
  }

  #queue(segment: number, side: Side): string {
    return `/queue/${this.#name}.${segment}${side}`;
  }
}

interface Opened {
  /** -1 when it is empty. */
  readonly moves: number;
  readonly frames: readonly Delivery[];
  readonly side: Side;
  /** There is a segment behind it. */
  readonly closed: boolean;
  leave(): void;
}

function again({ headers: { record, part, parts, closes }, body }: Delivery, destination: string, moves: number): Frame {
  return { destination, headers: { moves: String(moves), record: record!, part: part!, parts: parts!, ...(closes === undefined ? {} : { closes }) }, body };
}

function recordsOf(frames: readonly Delivery[]): LoggedRecord[] {
  const records: LoggedRecord[] = [];
  let parts: Buffer[] = [];
  for (const { headers, body } of frames) {
    parts.push(body);
    if (parts.length < Number(headers.parts)) continue;
    records.push({ number: Number(headers.record), text: Buffer.concat(parts).toString() });
    parts = [];
  }
  if (parts.length > 0) throw new Fault('internal', 'A record of the log is not whole.', { reason: 'storage' });
  return records;
}
