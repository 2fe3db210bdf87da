import { createWriteStream } from 'node:fs';
import { link, rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { Fault } from '../../kernel/fault.ts';
import { syncFolder } from '../host/durable-file.ts';
import { RowSum } from '../../fabric/row-sum.ts';
import { FORMAT, type Header, keptColumns, lineHash, type TableHead, type TableSum, type Trailer } from './format.ts';
import type { Source } from './moment.ts';

/** Where most of the time goes; the levels above it save little. */
const GZIP_LEVEL = 3;
const LOOK_BYTES = 16 * 1024 * 1024;

export interface BackupJob {
  /** Absolute; it must not be there yet. */
  readonly file: string;
  readonly sources: readonly Source[];
  readonly created: Date;
  readonly installation: string;
  /** The disk of the file keeps so many free. */
  readonly minFreeBytes: number;
  readonly signal: AbortSignal;
  /** Told now and then of rows and bytes written so far. */
  onProgress(rows: number, bytes: number): void;
}

/**
 * Writes the databases to a file, for its owner only. Until it is whole and on disk it is called `<file>.part`; that
 * one goes away when this fails, and what a kill leaves of it is overwritten by the next backup of that name.
 * Faults: `exhausted`/`disk_full`, `cancelled`, `unavailable` (the file cannot be written), those of the storage.
 */
export async function writeBackup(job: BackupJob): Promise<Trailer> {
  const { file, signal } = job;
  const part = `${file}.part`;
  const lines = new Lines(job);
  try {
    await requireFree(job);
    // What lies there may be open to others, or lead elsewhere.
    await rm(part, { force: true });
    const counted = (compressed: AsyncIterable<Buffer>) => lines.count(compressed);
    await pipeline(lines.text(), createGzip({ level: GZIP_LEVEL }), counted, createWriteStream(part, { flags: 'wx', mode: 0o600, flush: true }), { signal });
    // Unlike renaming, this overwrites nothing that has come up meanwhile.
    await link(part, file);
    await rm(part);
    await syncFolder(dirname(file));
    return lines.trailer!;
  } catch (error) {
    await rm(part, { force: true }).catch(() => {});
    throw faultOf(error, job);
  }
}

class Lines {
  trailer: Trailer | undefined;
  readonly #job: BackupJob;
  readonly #hash = lineHash();
  readonly #sums: TableSum[] = [];
  #rows = 0;
  #bytes = 0;

  constructor(job: BackupJob) {
    this.#job = job;
  }

  async *text(): AsyncGenerator<string, void, void> {
    yield this.#take(this.#header());
    for (const source of this.#job.sources) for (const table of source.tables) yield* this.#table(source, table);
    this.trailer = { complete: true, tables: this.#sums, sha256: this.#hash.digest('hex') };
    yield `${JSON.stringify(this.trailer)}\n`;
  }

  /** Passes on what goes to the disk. */
  async *count(compressed: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
    let looked = 0;
    for await (const chunk of compressed) {
      this.#bytes += chunk.length;
      if (this.#bytes - looked >= LOOK_BYTES) {
        looked = this.#bytes;
        await requireFree(this.#job);
      }
      yield chunk;
    }
    this.#job.onProgress(this.#rows, this.#bytes);
  }

  #header(): Header {
    const { sources, created, installation } = this.#job;
    return { multilith: 'backup', format: FORMAT, created: created.toISOString(), installation, databases: sources.map(({ name, migrations }) => ({ name, migrations })) };
  }

  async *#table(source: Source, table: Source['tables'][number]): AsyncGenerator<string, void, void> {
    const of = { database: source.name, table: table.name };
    yield this.#take({ ...of, columns: keptColumns(table) } satisfies TableHead);
    const sum = new RowSum();
    for await (const lines of source.lines(table.name)) {
      for (const line of lines) sum.add(line);
      const text = `${lines.join('\n')}\n`;
      this.#hash.update(text);
      this.#rows += lines.length;
      this.#job.onProgress(this.#rows, this.#bytes);
      yield text;
    }
    this.#sums.push({ ...of, rows: sum.rows, hash: sum.hash });
  }

  #take(value: Header | TableHead): string {
    const line = `${JSON.stringify(value)}\n`;
    this.#hash.update(line);
    return line;
  }
}

async function requireFree({ file, minFreeBytes }: BackupJob): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(file));
  if (bavail * bsize < minFreeBytes) throw new Fault('exhausted', `The disk of ${file} has ${bavail * bsize} bytes left; a backup leaves ${minFreeBytes} free.`, { reason: 'disk_full' });
}

function faultOf(error: unknown, { file, signal }: BackupJob): unknown {
  if (signal.aborted) return Fault.is(signal.reason) ? signal.reason : new Fault('cancelled', 'The backup was broken off.', { reason: 'cancelled' });
  const { code } = error as NodeJS.ErrnoException;
  if (Fault.is(error) || code === undefined) return error;
  return new Fault(code === 'ENOSPC' ? 'exhausted' : 'unavailable', `${file} cannot be written (${code}).`, { reason: code === 'ENOSPC' ? 'disk_full' : 'file', cause: error });
}
