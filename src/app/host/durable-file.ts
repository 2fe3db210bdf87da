import { readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { z } from 'zod';
import { BootProblem } from './boot-problem.ts';

/** Puts a file with this text in the place of what is there, for its owner only; on disk, whole, when it resolves. */
export async function replaceDurably(path: string, text: string): Promise<void> {
  const draft = await open(`${path}.new`, 'w', 0o600);
  try {
    await draft.writeFile(text);
    await draft.sync();
  } finally {
    await draft.close();
  }
  await rename(`${path}.new`, path);
  await syncFolder(dirname(path));
}

/** What was renamed or removed in a folder is so for good when it resolves. */
export async function syncFolder(folder: string): Promise<void> {
  const entries = await open(folder, 'r');
  try {
    await entries.sync();
  } finally {
    await entries.close();
  }
}

/** A JSON file that a start depends on; undefined when it was never written. `purpose` says what is lost with it. @throws BootProblem when it cannot be read. */
export function readRecord<T>(path: string, schema: z.ZodType<T>, purpose: string): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new BootProblem(`${path} cannot be read (${code}).`, 'Give this user the right to read it.', error);
  }
  const record = schema.safeParse(parsed(text));
  if (record.success) return record.data;
  throw new BootProblem(`${path} is damaged. ${purpose}`, 'Restore it from a backup of the data directory.');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
