import type { MessageFilter } from '../ports/bus.ts';
import { UsageError, type Args } from './command.ts';

/** The options that say which messages are meant. */
export const FILTERS = ['ids', 'workspace', 'name', 'reason', 'before'] as const;

/** Which messages the options name. */
export function filterOf(args: Args): MessageFilter {
  const [ids, workspace, name, reason, before] = FILTERS.map((option) => args.text(option));
  return {
    ...(ids !== undefined && { ids: ids.split(',').filter((id) => id !== '') }),
    ...(workspace !== undefined && { workspace }),
    ...(name !== undefined && { name }),
    ...(reason !== undefined && { reason }),
    ...(before !== undefined && { before: timeOf(before) }),
  };
}

/** Nobody empties a queue by leaving something out. */
export function requireScope(args: Args, action: string): void {
  const filters = FILTERS.filter((option) => args.text(option) !== undefined);
  if (args.flag('all') && filters.length > 0) throw new UsageError(`--all and --${filters[0]} contradict each other.`);
  if (!args.flag('all') && filters.length === 0) throw new UsageError(`queues ${action} needs to know which messages: --all, or one of ${FILTERS.map((option) => `--${option}`).join(', ')}.`);
}

export function limitOf(args: Args): number {
  const text = args.text('limit') ?? '20';
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) throw new UsageError(`--limit must be 1 to 1000, not ${text}.`);
  return limit;
}

function timeOf(text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new UsageError(`--before must be a time such as 2026-11-21T09:00:00Z, not ${text}.`);
  return time;
}
