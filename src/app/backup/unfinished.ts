import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BootProblem } from '../host/boot-problem.ts';

/** Stands in a data directory from a restore's first step to its last. */
export const MARKER = 'restore-unfinished.json';

/** @throws BootProblem where a restore has not come to its end: not all of the data is there. */
export function requireWhole(dataDir: string): void {
  if (!existsSync(join(dataDir, MARKER))) return;
  throw new BootProblem(`A restore into ${dataDir} has not come to its end, so that not all of the data is there.`, 'Empty the folder, and the schemas where the data lies in PostgreSQL, and restore again.');
}
