import { readdirSync } from 'node:fs';
import type { SystemStatus } from '../../kernel/system.ts';
import { askHost } from './client.ts';
import { controlPath, isAlive, signedBy } from './socket.ts';

/** A host whose control socket is answered on a data directory. */
export interface RunningHost {
  readonly host: string;
  /** As it signed; null when that cannot be read. */
  readonly pid: number | null;
}

/** Every host that runs on a data directory, of whatever topology; none where there is no such directory. */
export async function hostsOn(dataDir: string): Promise<RunningHost[]> {
  const names = socketsIn(dataDir).map((file) => file.slice(0, -'.sock'.length)).sort();
  const alive = await Promise.all(names.map((host) => isAlive(controlPath(dataDir, host))));
  return names.filter((_, at) => alive[at]).map((host) => ({ host, pid: signedBy(dataDir, host) }));
}

/**
 * The whole system as one host sees it that runs on a data directory, of whatever topology; undefined when none runs
 * there. `first`: the one that is asked first, e.g. since it answered before. Faults: the last one's, when none answers.
 */
export async function systemOn(dataDir: string, answerMs: number, first?: string): Promise<{ readonly asked: string; readonly status: SystemStatus } | undefined> {
  const names = (await hostsOn(dataDir)).map(({ host }) => host).sort((a, b) => Number(b === first) - Number(a === first));
  let silent: unknown;
  for (const asked of names) {
    try {
      return { asked, status: (await askHost(dataDir, asked, 'GET', '/system', undefined, answerMs)) as SystemStatus };
    } catch (error) {
      silent = error;
    }
  }
  if (silent !== undefined) throw silent;
  return undefined;
}

function socketsIn(dataDir: string): string[] {
  try {
    return readdirSync(dataDir).filter((file) => file.endsWith('.sock'));
  } catch {
    return [];
  }
}
