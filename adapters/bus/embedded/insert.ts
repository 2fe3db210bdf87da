import type { EpochMs } from '../../../src/kernel/clock.ts';
import { LANES } from '../../../src/kernel/message.ts';
import type { Outgoing } from '../../../src/ports/bus.ts';
import type { BusMemory, Tx } from './memory.ts';
import { type Queue, turnOf } from './queue.ts';
import { BLOCKED, DEAD, READY, WAITING } from './schema.ts';
import * as sql from './statements.ts';

/** One message on its way into one queue. */
export interface Copy {
  readonly queue: Queue;
  readonly message: Outgoing;
}

/** Writes messages to their queues, in this order, passing over those whose id is there already. */
export async function insert(tx: Tx, memory: BusMemory, copies: readonly Copy[], now: EpochMs): Promise<void> {
  const first = memory.nextSeq;
  const rows: unknown[][] = [];
  for (const { queue, message } of copies) rows.push(rowOf(memory.nextSeq++, queue, await memory.workspaceId(tx, message.workspace), message, now));
  let at = 0;
  for (; rows.length - at >= sql.MANY; at += sql.MANY) await tx.run(sql.insertMany, byPosition(rows.slice(at, at + sql.MANY)));
  for (; at < rows.length; at++) await tx.run(sql.insertOne, byPosition(rows.slice(at, at + 1)));
  const stored = await storedOf(tx, first, memory.nextSeq - 1, rows.length);
  copies.forEach(({ queue }, i) => {
    const [seq, , state, lane, workspace, , , , , due] = rows[i] as [number, number, number, number, number, string, string, string | null, number, number];
    queue.lastPublished = now;
    queue.changed = true;
    if (stored(seq)) note(queue, { seq, state, lane, workspace, due });
  });
}

/** Takes a message into the memory of its queue that is new in the file. */
export function note(queue: Queue, { seq, state, lane, workspace, due }: sql.Place & { readonly state: number }): void {
  if (state === READY) {
    queue.lanes[lane]!++;
    queue.ready(lane, workspace, seq, due);
  } else if (state === BLOCKED) {
    queue.lanes[lane]!++;
    queue.blocked++;
  } else if (state === DEAD) {
    queue.dead++;
  } else {
    queue.waiting++;
    queue.nextDue = Math.min(queue.nextDue, due);
  }
}

/** In the order of the statement's columns. */
function rowOf(seq: number, queue: Queue, workspace: number, message: Outgoing, now: EpochMs): unknown[] {
  const due = Math.max(now + queue.settings.delayMs, message.notBefore ?? 0);
  const { traceId, spanId } = message.trace;
  // What is sure to wait for its key need not be looked at until that is free.
  const behind = queue.settings.ordered && message.key !== null && queue.busy.has(turnOf(workspace, message.key));
  return [
    seq, queue.id, due > now ? WAITING : behind ? BLOCKED : READY, LANES.indexOf(message.lane), workspace,
    message.id, message.name, message.key, message.time, due, `${traceId}-${spanId}`, message.payload,
  ];
}

/** An array is a record of its positions. */
function byPosition(rows: readonly unknown[][]): Record<string, unknown> {
  return rows.flat() as unknown as Record<string, unknown>;
}

/** Which of the rows were not passed over. Nearly always all of them, which one count over the new rows shows. */
export async function storedOf(tx: Tx, first: number, last: number, rows: number): Promise<(seq: number) => boolean> {
  const [counted] = await tx.run(sql.countBetween, { first, last });
  if (counted!.n === rows) return () => true;
  const seqs = new Set((await tx.run(sql.seqsBetween, { first, last })).map((row) => row.seq));
  return (seq) => seqs.has(seq);
}
