import { LANES } from '../../../src/kernel/message.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { KeptMessage, KeptPage } from '../../../src/ports/bus.ts';
import type { Reader } from '../../../src/ports/storage.ts';
import { historyOf } from './history.ts';
import { note, storedOf } from './insert.ts';
import type { BusMemory } from './memory.ts';
import type { Pump } from './pump.ts';
import type { Queue } from './queue.ts';
import { DEAD, READY, WAITING } from './schema.ts';
import * as sql from './statements.ts';

/** What one page holds. */
const MESSAGES_A_PAGE = 500;
const BYTES_A_PAGE = 1024 * 1024;
/** Messages of all queues that one page of a long queue looks at: some milliseconds. */
const LOOKED_AT = 2_000;
/** The messages of a queue of up to so many are sorted anew for each page, which the length of other queues does not slow down. */
const SHORT = 5_000;

/** A page in the order of `seq`, which is that of publishing and of each key. */
export async function readPage(reader: Reader<unknown>, memory: BusMemory, queue: Queue, cursor: string | undefined): Promise<KeptPage> {
  const after = positionOf(cursor);
  const { rows, next, end } = await sized(reader, queue, after);
  const page = fitting(rows);
  const isCut = page.length < rows.length;
  const messages = await reader.run(sql.keptOf, { seqs: JSON.stringify(page.map(({ seq }) => seq)) });
  return { messages: messages.map((row) => keptOf(row, memory)), next: String(isCut ? page.at(-1)!.seq : next), end: end && !isCut };
}

async function sized(reader: Reader<unknown>, queue: Queue, after: number): Promise<{ rows: readonly sql.SizedRow[]; next: number; end: boolean }> {
  const of = { queue: queue.id, after, limit: MESSAGES_A_PAGE };
  if (queue.size <= SHORT) {
    const rows = await reader.run(sql.nextOfShort, of);
    return { rows, next: rows.at(-1)?.seq ?? after, end: rows.length < MESSAGES_A_PAGE };
  }
  const [stretch] = await reader.run(sql.stretchBehind, { after, limit: LOOKED_AT });
  const last = stretch!.last ?? after;
  const rows = await reader.run(sql.nextAmong, { ...of, last });
  const isFull = rows.length === MESSAGES_A_PAGE;
  return { rows, next: isFull ? rows.at(-1)!.seq : last, end: !isFull && stretch!.n < LOOKED_AT };
}

function fitting(rows: readonly sql.SizedRow[]): readonly sql.SizedRow[] {
  let bytes = 0;
  const end = rows.findIndex((row, i) => (bytes += row.bytes) > BYTES_A_PAGE && i > 0);
  return end === -1 ? rows : rows.slice(0, end);
}

function keptOf({ id, name, workspace, key, lane, time, due, trace, state, attempts, suspect, reason, history, payload }: sql.KeptRow, memory: BusMemory): KeptMessage {
  const [traceId = '', spanId = ''] = trace.split('-');
  return { id, name, workspace: memory.workspaceName(workspace), key, lane: LANES[lane]!, time, trace: { traceId, spanId }, payload, due, dead: state === DEAD, attempts, reason, history: historyOf(history), suspect: suspect === 1 };
}

/** In one transaction, behind everything that is there. */
export function addAll(pump: Pump, memory: BusMemory, queue: Queue, messages: readonly KeptMessage[]): Promise<void> {
  return pump.perform(async (tx, now) => {
    const first = memory.nextSeq;
    const rows: sql.KeptParams[] = [];
    for (const message of messages) {
      const row = rowOf(memory.nextSeq++, queue, await memory.workspaceId(tx, message.workspace), message, now);
      await tx.run(sql.insertKept, row);
      if (message.history.length > 0) await tx.run(sql.addHistory, { seq: row.seq, history: JSON.stringify(message.history) });
      rows.push(row);
    }
    const stored = await storedOf(tx, first, memory.nextSeq - 1, rows.length);
    for (const row of rows) if (stored(row.seq)) note(queue, row);
    queue.changed = true;
  });
}

function rowOf(seq: number, queue: Queue, workspace: number, message: KeptMessage, now: number): sql.KeptParams {
  const { id, name, key, lane, time, trace, payload, due, dead, attempts, reason, suspect } = message;
  const state = dead ? DEAD : due > now ? WAITING : READY;
  return { seq, queue: queue.id, state, lane: LANES.indexOf(lane), workspace, id, name, key, time, due, trace: `${trace.traceId}-${trace.spanId}`, attempts, suspect: suspect && !dead ? 1 : 0, reason, payload };
}

function positionOf(cursor = '0'): number {
  if (!/^\d{1,15}$/.test(cursor)) throw new Fault('invalid', 'This is not a cursor of these messages; start without one.', { reason: 'cursor_invalid' });
  return Number(cursor);
}
