import { LANES } from '../../../src/kernel/message.ts';
import type { Json } from '../../../src/kernel/fault.ts';
import type { BrowsedMessage, MessageFilter, Part, PastTries } from '../../../src/ports/bus.ts';
import type { Reader } from '../../../src/ports/storage.ts';
import { historyOf } from './history.ts';
import { type BusMemory, type Tx, readNextDue, readStreams, unblock } from './memory.ts';
import type { Pump } from './pump.ts';
import type { Queue } from './queue.ts';
import { BLOCKED, DEAD, WAITING } from './schema.ts';
import * as sql from './statements.ts';
import { cursorAt, DEAD_ONES, LIVING, REMOVABLE, type States, walk } from './walk.ts';

/** Messages that one transaction looks at: a few milliseconds. */
const STRETCH = 500;
/** Messages that one page looks at, at most; a page may be shorter than asked for, or empty, with more to follow. */
const LOOKED_AT_A_PAGE = 2_000;

/** Payload and history that one page holds, the first message's apart. */
const BYTES_A_PAGE = 2 * 1024 * 1024;

/** Messages that one part of a requeue or a purge looks at: some tens of milliseconds. */
const LOOKED_AT_A_PART = 2_000;

interface Which {
  readonly filter: MessageFilter;
  readonly after?: string;
}

export interface Page {
  readonly messages: BrowsedMessage[];
  readonly next: string | null;
}

export async function browse(reader: Reader<unknown>, memory: BusMemory, queue: Queue, which: { dead: boolean; filter?: MessageFilter; after?: string; limit: number }): Promise<Page> {
  const { dead, filter = {}, limit } = which;
  const states = dead ? DEAD_ONES : LIVING;
  const found: sql.BrowsedRow[] = [];
  let next = which.after ?? null;
  for (let looked = 0; looked < LOOKED_AT_A_PAGE && found.length < limit; ) {
    // Never more rows than the page still lacks: the cursor stands behind the last row that was looked at.
    const look = Math.min(limit - found.length, LOOKED_AT_A_PAGE - looked);
    const stretch = await walk(reader, memory, queue, { states, filter, after: next, look });
    found.push(...stretch.rows);
    looked += look;
    next = stretch.next;
    if (next === null) break;
  }
  const rows = fitting(found);
  if (rows.length < found.length) next = cursorAt(rows.at(-1)!);
  const texts = new Map((await reader.run(sql.textsOf, { seqs: JSON.stringify(rows.map((row) => row.seq)) })).map((row) => [row.seq, row]));
  const messages = rows.flatMap((row) => {
    const text = texts.get(row.seq);
    return text === undefined ? [] : [browsed(row, historyOf(text.history), redact(text.payload, queue.settings.personal), memory)];
  });
  return { messages, next };
}

/** As many as a page can hold. */
function fitting(rows: readonly sql.BrowsedRow[]): readonly sql.BrowsedRow[] {
  let bytes = 0;
  const end = rows.findIndex((row, i) => (bytes += row.bytes) > BYTES_A_PAGE && i > 0);
  return end === -1 ? rows : rows.slice(0, end);
}

function browsed({ id, name, workspace, key, lane, time, due, attempts, reason }: sql.BrowsedRow, history: readonly PastTries[], payload: string, memory: BusMemory): BrowsedMessage {
  return { id, name, workspace: memory.workspaceName(workspace), key, lane: LANES[lane]!, time, due, attempts, reason, history, payload };
}

/** Personal fields replaced. What is not a JSON object has no fields to keep and is left out whole when any are personal. */
export function redact(payload: string, personal: readonly string[]): string {
  if (personal.length === 0) return payload;
  let value: Json;
  try {
    value = JSON.parse(payload) as Json;
  } catch {
    return '"[redacted]"';
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return '"[redacted]"';
  const hidden = new Set(personal);
  return JSON.stringify(Object.fromEntries(Object.entries(value).map(([field, inner]) => [field, hidden.has(field) ? '[redacted]' : inner])));
}

/** Dead messages that pass go back into their queue. */
export function requeue(pump: Pump, memory: BusMemory, queue: Queue, which: Which): Promise<Part> {
  return eachStretch(pump, memory, queue, DEAD_ONES, which, async (tx, rows, now) => {
    await tx.run(sql.revive, { seqs: seqsOf(rows), due: now });
    await tx.run(sql.remember, { seqs: seqsOf(rows), time: now });
    for (const { seq, lane, workspace } of rows) {
      queue.dead--;
      queue.lanes[lane]!++;
      queue.ready(lane, workspace, seq, now);
    }
  });
}

export function purge(pump: Pump, memory: BusMemory, queue: Queue, which: Which & { readonly dead: boolean }): Promise<Part> {
  return eachStretch(pump, memory, queue, which.dead ? DEAD_ONES : REMOVABLE, which, async (tx, rows) => {
    await tx.run(sql.remove, { seqs: seqsOf(rows) });
    for (const { state, lane } of rows) {
      if (state === DEAD) queue.dead--;
      else if (state === WAITING) queue.waiting--;
      else queue.lanes[lane]!--;
      if (state === BLOCKED) queue.blocked--;
    }
    if (which.dead) return;
    for (const { workspace, key } of rows) if (key !== null && queue.settings.ordered) await unblock(tx, queue, workspace, key);
  }, async (tx) => {
    await readStreams(tx, queue);
    await readNextDue(tx, queue);
  });
}

/** Stretch by stretch, each a transaction of its own, until the end or as many as one part looks at. `last` closes the part. */
async function eachStretch(
  pump: Pump, memory: BusMemory, queue: Queue, states: States, { filter, after }: Which,
  work: (tx: Tx, rows: readonly sql.BrowsedRow[], now: number) => Promise<void>,
  last?: (tx: Tx) => Promise<void>,
): Promise<Part> {
  let count = 0;
  let next = after ?? null;
  for (let looked = STRETCH; ; looked += STRETCH) {
    const from = next;
    next = await pump.perform(async (tx, now): Promise<string | null> => {
      const stretch = await walk(tx, memory, queue, { states, filter, after: from, look: STRETCH });
      const still = stretch.rows.filter((row) => !queue.flights.has(row.seq));
      if (still.length > 0) {
        await work(tx, still, now);
        queue.changed = true;
        count += still.length;
      }
      if (stretch.next === null || looked >= LOOKED_AT_A_PART) await last?.(tx);
      return stretch.next;
    });
    if (next === null || looked >= LOOKED_AT_A_PART) return { count, next };
  }
}

function seqsOf(rows: readonly sql.BrowsedRow[]): string {
  return `[${rows.map((row) => row.seq).join(',')}]`;
}

/** A queue that is no longer ordered has nothing to block. */
export async function releaseBlocked(pump: Pump, queue: Queue): Promise<void> {
  while (queue.blocked > 0) {
    await pump.perform(async (tx) => {
      const places = await tx.run(sql.blockedOf, { queue: queue.id, limit: STRETCH });
      await tx.run(sql.moveTo, { seqs: `[${places.map((place) => place.seq).join(',')}]`, state: 0 });
      for (const { seq, lane, workspace, due } of places) queue.ready(lane, workspace, seq, due);
      queue.blocked -= places.length;
      queue.changed = true;
    });
  }
}
