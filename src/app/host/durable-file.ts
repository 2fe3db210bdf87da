import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

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
