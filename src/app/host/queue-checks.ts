import type { Config } from '../config/config.ts';
import { systemOn } from '../control/running.ts';
import type { Finding } from './checks.ts';

/** A host takes 1.5 s at most to hear from the others. */
const ANSWER_MS = 3_000;

/** What staff hold back and may have forgotten, as a host that runs here says: only a host can tell. */
export async function checkQueues({ dataDir }: Pick<Config, 'dataDir'>): Promise<Finding[]> {
  const seen = await systemOn(dataDir, ANSWER_MS).catch(() => 'silent' as const);
  if (seen === 'silent') return [{ check: 'queues', state: 'fail', detail: `a host runs on this data directory and has not answered for ${ANSWER_MS} ms`, remedy: 'Its log may say what it does. One that was stopped (ps shows T) goes on with kill -CONT; one that stays silent is to be started again.' }];
  const told = seen?.status.hosts.flatMap(({ queues }) => queues ?? []) ?? [];
  if (told.length === 0) return [{ check: 'queues', state: 'ok', detail: `not looked at: ${seen === undefined ? 'no host runs on this data directory' : 'no host that runs can tell'}` }];
  const queues = [...new Map(told.map((queue) => [queue.name, queue])).values()];
  const paused = queues.filter(({ paused, pausedWorkspaces = 0 }) => paused || pausedWorkspaces > 0);
  if (paused.length === 0) return [{ check: 'queues', state: 'ok', detail: 'none is paused' }];
  return paused.map(({ name, paused: entirely, pausedWorkspaces }) => ({
    check: 'queues',
    state: 'warn',
    detail: entirely ? `${name} is paused` : `${name} is paused for ${pausedWorkspaces} of the workspaces`,
    remedy: `multilith queues resume ${name}${entirely ? '' : ' --workspace ID'}, once what it waits for is mended; multilith queues inspect ${name} says more.`,
  }));
}
