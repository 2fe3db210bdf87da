import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { Backoff } from '../../../src/kernel/message.ts';
import { type Tx, unblock } from './memory.ts';
import { type Flight, turnOf } from './queue.ts';
import { DEAD, READY, WAITING } from './schema.ts';
import * as sql from './statements.ts';
import type { Ending } from './worker.ts';

export interface Ended {
  readonly flight: Flight;
  readonly ending: Ending;
}

type Failed = Exclude<Ending, { kind: 'done' | 'untried' }>;

/** Longer reasons are cut: they are kept with every dead message. */
const REASON_CHARACTERS = 2_000;

/** The wait before the try after the `attempt`th. */
export function backoffMs({ firstMs, factor, mostMs, jitter }: Backoff, attempt: number, random: () => number = Math.random): number {
  const full = Math.min(mostMs, firstMs * factor ** (attempt - 1));
  return Math.round(full * (1 - jitter + jitter * random()));
}

/** Writes what became of the messages and lets them go. */
export async function settle(tx: Tx, ended: readonly Ended[], now: EpochMs): Promise<void> {
  const done = ended.filter(({ ending }) => ending.kind === 'done').map(({ flight }) => flight.seq);
  if (done.length > 0) await tx.run(sql.remove, { seqs: `[${done.join(',')}]` });
  for (const { flight, ending } of ended) {
    const { queue } = flight;
    if (ending.kind === 'done') queue.lanes[flight.lane]!--;
    else if (ending.kind === 'untried') queue.ready(flight.lane, flight.workspace, flight.seq, flight.due);
    else await giveBack(tx, flight, ending, now);
    queue.land(flight);
  }
  const failed = ended.filter(({ ending }) => ending.kind !== 'done' && ending.kind !== 'untried').map(({ flight }) => flight.seq);
  if (failed.length > 0) await tx.run(sql.remember, { seqs: `[${failed.join(',')}]`, time: now });
  // After all have landed: a key may have been passed on to a message that this very transaction takes.
  const passedOn = new Set<string>();
  for (const { flight } of ended) {
    const { queue, workspace, turn } = flight;
    if (turn === null || queue.busy.has(turnOf(workspace, turn)) || passedOn.has(`${queue.id} ${turnOf(workspace, turn)}`)) continue;
    passedOn.add(`${queue.id} ${turnOf(workspace, turn)}`);
    await unblock(tx, queue, workspace, turn);
  }
}

async function giveBack(tx: Tx, flight: Flight, ending: Failed, now: EpochMs): Promise<void> {
  const { queue, seq, lane, workspace } = flight;
  const put = standingAfter(flight, ending, now);
  const suspect = ending.kind === 'interrupted' && put.state !== DEAD ? 1 : 0;
  await tx.run(sql.putBack, { seq, suspect, ...put });
  if (put.state === READY) return queue.ready(lane, workspace, seq, put.due);
  queue.lanes[lane]!--;
  if (put.state === DEAD) queue.dead++;
  else {
    queue.waiting++;
    queue.nextDue = Math.min(queue.nextDue, put.due);
  }
}

function standingAfter(flight: Flight, ending: Failed, now: EpochMs): { state: number; due: EpochMs; attempts: number; reason: string } {
  const { attempt } = flight.message;
  const { attempts: most, backoff } = flight.queue.settings;
  const reason = reasonOf(ending);
  if (ending.kind === 'retry' && ending.notBefore !== undefined) return { ...waitingUntil(ending.notBefore, now), attempts: attempt - 1, reason };
  if (ending.kind === 'dead' || attempt >= most) return { state: DEAD, due: flight.due, attempts: attempt, reason };
  const due = ending.kind === 'retry' ? now + backoffMs(backoff, attempt) : now;
  return { ...waitingUntil(due, now), attempts: attempt, reason };
}

function reasonOf(ending: Failed): string {
  if (ending.kind === 'returned') return 'stopped: The consumer stopped before the handler had finished.';
  if (ending.kind === 'interrupted') return 'interrupted: Whoever was handling this message went away.';
  return storable(ending.reason);
}

function waitingUntil(due: EpochMs, now: EpochMs): { state: number; due: EpochMs } {
  return { state: due > now ? WAITING : READY, due };
}

function storable(reason: string): string {
  return reason.slice(0, REASON_CHARACTERS).toWellFormed().replaceAll('\0', '');
}
