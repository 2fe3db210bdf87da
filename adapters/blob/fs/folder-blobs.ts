import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Fault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { StartStop } from '../../../src/kernel/lifecycle.ts';
import { blobNotFound, type Blobs, requireKey } from '../../../src/ports/blob.ts';

/** Holds what is being written; no key begins with a dot. */
const DRAFTS = '.drafts';
/** A draft that nothing was added to for so long is nobody's. */
const ABANDONED_MS = 86_400_000;
const CHUNK_BYTES = 65_536;
/** How often the free space is looked at while something is written. */
const LOOK_BYTES = 16 * 1_024 * 1_024;

/** A file for each key, for its owner only; in its place only when it is whole and on disk. */
export class FolderBlobs implements Blobs {
  readonly spansHosts = false;
  readonly #folder: string;
  readonly #minFreeBytes: number;
  readonly #life: StartStop;

  constructor(folder: string, minFreeBytes: number) {
    this.#folder = folder;
    this.#minFreeBytes = minFreeBytes;
    this.#life = new StartStop(
      async () => {
        await mkdir(join(folder, DRAFTS), { recursive: true, mode: 0o700 });
        await this.#clearAway();
      },
      () => {},
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  async write(key: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number> {
    const path = this.#path(key);
    const draft = join(this.#folder, DRAFTS, newId());
    let bytes = 0;
    const counted = async function* (this: FolderBlobs): AsyncGenerator<Uint8Array, void, void> {
      let looked = -Infinity;
      for await (const chunk of content) {
        if (bytes - looked >= LOOK_BYTES) {
          looked = bytes;
          await this.#requireFree();
        }
        bytes += chunk.length;
        yield chunk;
      }
    }.bind(this);
    try {
      await pipeline(counted, createWriteStream(draft, { mode: 0o600, flush: true }), { signal });
      const made = await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await rename(draft, path);
      for (let folder = dirname(path); ; folder = dirname(folder)) {
        await syncFolder(folder);
        // Folders that are new are named in those above them.
        if (made === undefined || folder === dirname(made)) break;
      }
      return bytes;
    } catch (error) {
      await rm(draft, { force: true }).catch(() => {});
      throw signal.aborted ? cancelled(signal) : diskFault(error);
    }
  }

  async *read(key: string, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
    try {
      yield* createReadStream(this.#path(key), { signal, highWaterMark: CHUNK_BYTES }) as AsyncIterable<Uint8Array>;
    } catch (error) {
      if (signal.aborted) throw cancelled(signal);
      throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? blobNotFound() : diskFault(error);
    }
  }

  async remove(key: string): Promise<void> {
    try {
      await rm(this.#path(key), { force: true });
    } catch (error) {
      throw diskFault(error);
    }
  }

  async check(): Promise<{ ok: boolean; detail: string }> {
    try {
      await this.#requireFree();
      return { ok: true, detail: `files in ${this.#folder}` };
    } catch (error) {
      return { ok: false, detail: (error as Error).message };
    }
  }

  /** What earlier runs were writing when they ended; other processes may be writing just now. */
  async #clearAway(): Promise<void> {
    const drafts = join(this.#folder, DRAFTS);
    for (const name of await readdir(drafts)) {
      const found = await stat(join(drafts, name)).catch(() => undefined);
      if (found !== undefined && Date.now() - found.mtimeMs > ABANDONED_MS) await rm(join(drafts, name), { force: true });
    }
  }

  #path(key: string): string {
    requireKey(key);
    if (this.#life.state !== 'running') throw new Fault('unavailable', 'The folder is not open.', { reason: 'stopped', origin: 'unsent' });
    return join(this.#folder, key);
  }

  async #requireFree(): Promise<void> {
    const { bavail, bsize } = await statfs(this.#folder);
    if (bavail * bsize < this.#minFreeBytes) throw new Fault('exhausted', `The disk of ${this.#folder} has ${bavail * bsize} bytes left, of which ${this.#minFreeBytes} are kept free.`, { reason: 'disk_full' });
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function cancelled({ reason }: AbortSignal): Fault {
  return Fault.is(reason) ? reason : new Fault('cancelled', 'It was called off.', { reason: 'cancelled' });
}

/** What the disk says; whatever the content has thrown goes on as it is. */
function diskFault(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (Fault.is(error) || typeof code !== 'string' || !/^E[A-Z]+$/.test(code)) return error;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new Fault('exhausted', 'The disk is full.', { reason: 'disk_full', cause: error });
  return new Fault('unavailable', `The folder for files cannot be used (${code}).`, { reason: 'disk', details: { remedy: 'Give this user the right to write there, and look at the disk.' }, cause: error });
}
