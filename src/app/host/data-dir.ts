import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { BootProblem } from './boot-problem.ts';

/** Makes the folder when it is missing, for its owner only, and sees to it that this process may write to it. */
export function prepareDataDir(dataDir: string): void {
  try {
    makeFolder(dataDir);
    if (!statSync(dataDir).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' });
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw dataDirProblem(dataDir, error);
  }
}

/** With its parents. Node's own `recursive` never returns where a parent answers ENOENT though it is there, as /proc does. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  if (dirname(folder) !== folder) makeFolder(dirname(folder));
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** A failure to read or write there, as the operator needs it. */
export function dataDirProblem(dataDir: string, error: unknown): BootProblem {
  const { code } = error as NodeJS.ErrnoException;
  return new BootProblem(`The data directory ${dataDir} cannot be used: ${reasonOf(code)}.`, remedyFor(code), error);
}

function reasonOf(code: string | undefined): string {
  const words: Readonly<Record<string, string>> = {
    EACCES: 'this user may not write there',
    EPERM: 'this user may not write there',
    EROFS: 'its file system is mounted read-only',
    ENOENT: 'it cannot be made there',
    ENOSPC: 'its disk is full',
    EEXIST: 'there is a file of that name',
    ENOTDIR: 'there is a file of that name',
  };
  return words[code ?? ''] ?? `the system says ${code}`;
}

function remedyFor(code: string | undefined): string {
  if (code === 'ENOSPC') return 'Free some space, or name another folder with MULTILITH_DATA.';
  return 'Give this user the right to write there (chown, or remount), or name another folder with MULTILITH_DATA.';
}
