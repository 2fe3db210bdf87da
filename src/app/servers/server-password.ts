import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { BootProblem } from '../host/boot-problem.ts';
import { dataDirProblem } from '../host/data-dir.ts';

/** What the file holds; made at the first start, for its user only, and kept from then on. */
export function serverPassword(path: string): string {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(path, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600, flag: 'wx', flush: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw dataDirProblem(dirname(path), error);
  }
  const password = readFileSync(path, 'utf8').trim();
  if (password === '') throw new BootProblem(`${path} is empty.`, 'Delete it: the next start makes another password, for the server and for the host.');
  return password;
}
