import type { Bus, QueueState } from './bus.ts';

/** What staff may do with the queues, whichever module they belong to. */
export type Queues = Pick<Bus, 'inspect' | 'browse' | 'pause' | 'resume' | 'requeue' | 'purge'>;
export const Queues = Symbol.for('multilith.Queues');

/**
 * How a queue is doing, in a word:
 * - `paused`: held back by staff.
 * - `unattended`: messages are due and nobody takes them, since no host that consumes is there, or no program that they are handed out to.
 * - `busy`: as many messages under way as may be.
 * - `working`: messages under way, or due.
 * - `waiting`: all that it has is not yet due, such as what failed and is tried again.
 * - `idle`: nothing to do.
 */
export const QUEUE_STATUSES = ['paused', 'unattended', 'busy', 'working', 'waiting', 'idle'] as const;
export type QueueStatus = (typeof QUEUE_STATUSES)[number];

export interface QueueView extends QueueState {
  /** Of the workspace, where it is one's share that is looked at: a workspace that is held back is `paused`. */
  readonly status: QueueStatus;
  /** Due now and not yet taken, all lanes together. */
  readonly depth: number;
}

/** A queue as staff are shown it, on every surface. `workspace`: whose share the state tells of; left out for all. */
export function viewOf(state: QueueState, workspace?: string): QueueView {
  const { urgent, normal, bulk } = state.ready;
  const depth = urgent + normal + bulk;
  return { ...state, depth, status: statusOf(state, depth, workspace) };
}

function statusOf({ paused, pausedWorkspaces, consumers, isAttended = true, inFlight, concurrency, waiting }: QueueState, depth: number, workspace: string | undefined): QueueStatus {
  if (paused || (workspace !== undefined && pausedWorkspaces.includes(workspace))) return 'paused';
  if ((depth > 0 && consumers === 0) || (depth + inFlight > 0 && !isAttended)) return 'unattended';
  if (inFlight > 0 && inFlight >= concurrency) return 'busy';
  if (depth > 0 || inFlight > 0) return 'working';
  return waiting > 0 ? 'waiting' : 'idle';
}
