import type { RpcSettings } from './settings.ts';

/** How long to wait before the next attempt after so many that failed: doubling, half of it by chance. */
export function pauseMs(attempts: number, { firstPauseMs, mostPauseMs }: Pick<RpcSettings, 'firstPauseMs' | 'mostPauseMs'>): number {
  const most = Math.min(firstPauseMs * 2 ** Math.min(attempts, 30), mostPauseMs);
  return most / 2 + Math.random() * (most / 2);
}
