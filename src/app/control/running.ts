import { readdirSync } from 'node:fs';
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

function socketsIn(dataDir: string): string[] {
  try {
    return readdirSync(dataDir).filter((file) => file.endsWith('.sock'));
  } catch {
    return [];
  }
}
