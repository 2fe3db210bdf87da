import { statfs } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';

/** With less free space on its disk no server is started: what it needs to read what it has, and a beginning. */
export const LEAST_FREE_BYTES = 64 * 1024 * 1024;
const LOOK_MS = 1_000;

/** Megabytes that are free where the directory lies, when they are too few for a server; undefined when they are enough, or cannot be told. */
export async function shortOfRoom(directory: string): Promise<number | undefined> {
  const disk = await statfs(directory).catch(() => undefined);
  const free = disk === undefined ? Number.POSITIVE_INFINITY : disk.bavail * disk.bsize;
  return free < LEAST_FREE_BYTES ? Math.floor(free / 1024 / 1024) : undefined;
}

/** Resolves when there is enough, or at the signal. `told`: how many megabytes there are while they are too few. */
export async function untilRoom(directory: string, signal: AbortSignal, told: (megabytes: number) => void): Promise<void> {
  while (!signal.aborted) {
    const megabytes = await shortOfRoom(directory);
    if (megabytes === undefined) return;
    told(megabytes);
    await pause(LOOK_MS, undefined, { signal }).catch(() => {});
  }
}
