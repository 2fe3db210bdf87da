import { resolve } from 'node:path';
import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Blobs } from '../../../src/ports/blob.ts';
import { FolderBlobs } from './folder-blobs.ts';

export const FsSettings = z.strictObject({
  /** The folder of the files, made when it is missing; a relative one counts from the data directory. */
  directory: z.string().min(1).default('blobs'),
  /** Writing is refused with `exhausted` while the disk has fewer bytes free. */
  minFreeBytes: z.int().min(0).default(134_217_728),
});
export type FsSettings = z.infer<typeof FsSettings>;

/** One file for each, in a folder of this host. */
export const fs: Driver<FsSettings, Blobs> = {
  name: 'fs',
  settings: FsSettings,
  create: ({ directory, minFreeBytes }, { dataDir }) => new FolderBlobs(resolve(dataDir, directory), minFreeBytes),
};
