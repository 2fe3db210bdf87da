import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BootProblem } from '../host/boot-problem.ts';
import { replaceDurably, syncFolder } from '../host/durable-file.ts';

/** Stands in a data directory from a restore's first step in it to its last. */
const MARKER = 'restore-unfinished.json';
/** What stands in a data directory of which nothing is in use. */
const IGNORED = /^(lost\+found|[^/]+\.(sock|pid))$/;
/** What a restore makes there, whole or in part. */
const MADE = /^([^/]+\.sqlite(-[a-z-]+)?|(sending-held|installation|restore-unfinished)\.json(\.new)?)$/;

/** @throws BootProblem where a restore has not come to its end: not all of the data is there. */
export function requireWhole(dataDir: string): void {
  if (!isUnfinished(dataDir)) return;
  throw new BootProblem(`A restore into ${dataDir} has not come to its end, so that not all of the data is there.`, 'Restore again into the same folder: it begins anew.');
}

/** @throws BootProblem when there is anything in the data directory but what a restore has left that did not come to its end. */
export function requireEmpty(dataDir: string): void {
  const isLeft = isUnfinished(dataDir);
  const found = readdirSync(dataDir).find((name) => !IGNORED.test(name) && !(isLeft && MADE.test(name)));
  if (found !== undefined) throw new BootProblem(`${dataDir} is not empty: there is ${found}. A restore overwrites nothing.`, 'Name an empty folder with MULTILITH_DATA, or move what is there away.');
}

/** From now on no host starts on the data directory; what another restore has left there is gone. For whoever has the directory. */
export async function beginRestore(dataDir: string, created: string): Promise<void> {
  await replaceDurably(join(dataDir, MARKER), `${JSON.stringify({ created })}\n`);
  for (const name of readdirSync(dataDir)) if (MADE.test(name) && name !== MARKER) await rm(join(dataDir, name));
  await syncFolder(dataDir);
}

/** All of the backup with this hash is in, and nothing is left to do but to let hosts start. */
export function noteFilled(dataDir: string, sha256: string): Promise<void> {
  return replaceDurably(join(dataDir, MARKER), `${JSON.stringify({ filled: sha256 })}\n`);
}

/** The hash of the backup that is all in, where a restore has come so far and no farther. */
export function filledWith(dataDir: string): string | undefined {
  if (!isUnfinished(dataDir)) return undefined;
  return (JSON.parse(readFileSync(join(dataDir, MARKER), 'utf8')) as { readonly filled?: string }).filled;
}

/** All is there. */
export async function endRestore(dataDir: string): Promise<void> {
  await rm(join(dataDir, MARKER));
  await syncFolder(dataDir);
}

function isUnfinished(dataDir: string): boolean {
  return existsSync(join(dataDir, MARKER));
}
