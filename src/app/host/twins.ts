import type { HostStatus } from '../../kernel/system.ts';

/** Where the others call a process as this host that is not this one: the old one after a move, or one that was started twice. */
export function twinsIn(statuses: readonly HostStatus[], own: { readonly host: string; readonly process: string }): string[] {
  const called = statuses.flatMap(({ edges }) => edges.filter(({ host }) => host === own.host).flatMap(({ replicas }) => replicas));
  return [...new Set(called.flatMap(({ state, process, address }) => ((state === 'open' || state === 'resting') && process !== null && process !== own.process ? [address] : [])))];
}
