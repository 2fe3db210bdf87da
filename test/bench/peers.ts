import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** The peers are plain programs beside the sources, with dependencies of their own; nothing of them is compiled. */
const PEERS = join(import.meta.dirname, '../../../test/bench/peers');

/** Runs one of them; answers what it reports. */
export async function peer<T>(name: string, ...args: string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(PEERS, `${name}.mjs`), ...args], { timeout: 90_000 });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
}
