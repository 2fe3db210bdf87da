import { Fault } from '../../../src/kernel/fault.ts';
import { LANES } from '../../../src/kernel/message.ts';
import type { MessageFilter } from '../../../src/ports/bus.ts';
import type { Reader } from '../../../src/ports/storage.ts';
import type { BusMemory } from './memory.ts';
import type { Queue } from './queue.ts';
import { BLOCKED, DEAD, READY, WAITING } from './schema.ts';
import * as sql from './statements.ts';

/** Where a walk over a queue's messages stands: behind this one. */
interface Position {
  readonly state: number;
  readonly lane: number;
  readonly workspace: number;
  readonly seq: number;
}

export interface Stretch {
  /** Those that pass the filter. */
  readonly rows: readonly sql.BrowsedRow[];
  /** Where to go on; null at the end. */
  readonly next: string | null;
}

/** The states of a walk, in its order. */
export type States = readonly number[];
/** As people look at them: those whose turn it is first. */
export const LIVING: States = [READY, BLOCKED, WAITING];
export const DEAD_ONES: States = [DEAD];
/** As they can be removed while one's removal gives another its turn: whatever changes its state by that is still ahead. */
export const REMOVABLE: States = [WAITING, BLOCKED, READY];

/** Ids that one filter may name. */
const MOST_IDS = 1_000;

/**
 * One stretch of a queue's messages, state by state; in each in the order of the index: by lane, workspace and age. Looks at `look` rows at most, however few of them pass, so that a filter that nothing passes costs no more.
 */
export async function walk(reader: Reader<unknown>, memory: BusMemory, queue: Queue, which: { states: States; filter: MessageFilter; after: string | null; look: number }): Promise<Stretch> {
  const { states, filter, after, look } = which;
  if (filter.ids !== undefined) return named(reader, memory, queue, which, filter.ids);
  let at = after === null ? start(states[0]!) : positionOf(after);
  const workspace = filter.workspace === undefined ? undefined : (memory.knownWorkspace(filter.workspace) ?? -1);
  const found: sql.BrowsedRow[] = [];
  for (let left = look; left > 0; ) {
    const rows = await section(reader, queue.id, at, workspace, left);
    for (const row of rows) if (passes(row, memory, filter)) found.push(row);
    if (rows.length === left) return { rows: found, next: cursorAt(rows.at(-1)!) };
    left -= rows.length;
    const following = behind(at, states, workspace);
    if (following === undefined) return { rows: found, next: null };
    at = following;
    // An empty section costs no row but a statement all the same; there are at most nine.
    if (left <= 0) return { rows: found, next: cursorAt(at) };
  }
  return { rows: found, next: cursorAt(at) };
}

/** The next rows of one state: the rest of the workspace where the walk stands, then the workspaces behind it. */
async function section(reader: Reader<unknown>, queue: number, at: Position, only: number | undefined, limit: number): Promise<sql.BrowsedRow[]> {
  const { state, lane, workspace, seq } = at;
  const rest = await reader.run(sql.browseWorkspace, { queue, state, lane, workspace: only ?? workspace, seq, limit });
  if (only !== undefined || rest.length === limit) return rest;
  return [...rest, ...(await reader.run(sql.browseBehind, { queue, state, lane, workspace, limit: limit - rest.length }))];
}

/** The section after this one: the next lane when walking one workspace, else the next state. */
function behind(at: Position, states: States, workspace: number | undefined): Position | undefined {
  if (workspace !== undefined && at.lane < LANES.length - 1) return { ...at, lane: at.lane + 1, seq: 0 };
  const state = states[states.indexOf(at.state) + 1];
  return state === undefined ? undefined : start(state);
}

function start(state: number): Position {
  return { state, lane: 0, workspace: 0, seq: 0 };
}

/** Those of the named ids, by age alone. */
async function named(reader: Reader<unknown>, memory: BusMemory, queue: Queue, which: { states: States; filter: MessageFilter; after: string | null; look: number }, ids: readonly string[]): Promise<Stretch> {
  const { states, filter, after, look } = which;
  if (ids.length > MOST_IDS) throw new Fault('invalid', `A filter may name ${MOST_IDS} ids; this one names ${ids.length}.`, { reason: 'too_many_ids' });
  const from = after === null ? 0 : positionOf(after).seq;
  const found = await reader.run(sql.browseIds, { queue: queue.id, ids: JSON.stringify(ids) });
  const rows = found.filter((row) => row.seq > from && states.includes(row.state) && passes(row, memory, filter));
  return rows.length > look ? { rows: rows.slice(0, look), next: cursorAt(rows[look - 1]!) } : { rows, next: null };
}

function passes(row: sql.BrowsedRow, memory: BusMemory, { workspace, name, reason, before }: MessageFilter): boolean {
  return (
    (workspace === undefined || memory.workspaceName(row.workspace) === workspace) &&
    (name === undefined || row.name === name) &&
    (reason === undefined || (row.reason !== null && row.reason.includes(reason))) &&
    (before === undefined || row.time < before)
  );
}

/** A walk that goes on from here begins behind this one. */
export function cursorAt({ state, lane, workspace, seq }: Position): string {
  return `${state}.${lane}.${workspace}.${seq}`;
}

function positionOf(cursor: string): Position {
  if (!/^[0-3]\.[0-2]\.\d{1,15}\.\d{1,15}$/.test(cursor)) {
    throw new Fault('invalid', 'This is not a cursor of this list; start without one.', { reason: 'cursor_invalid' });
  }
  const [state, lane, workspace, seq] = cursor.split('.').map(Number) as [number, number, number, number];
  return { state, lane, workspace, seq };
}
