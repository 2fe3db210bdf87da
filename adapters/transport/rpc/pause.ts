import type { RpcSettings } from './settings.ts';

/** One that stopped in order is looked for often for so many attempts, some thirty seconds: it is most likely on its way back. */
const SOON_ATTEMPTS = 400;

/** How long to wait before the next attempt after so many that failed: doubling, half of it by chance. */
export function pauseMs(attempts: number, leftInOrder: boolean, { firstPauseMs, mostPauseMs }: Pick<RpcSettings, 'firstPauseMs' | 'mostPauseMs'>): number {
  const doublings = leftInOrder && attempts < SOON_ATTEMPTS ? Math.min(attempts, 1) : Math.min(attempts, 30);
  const most = Math.min(firstPauseMs * 2 ** doublings, mostPauseMs);
  return most / 2 + Math.random() * (most / 2);
}
