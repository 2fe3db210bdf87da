import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { BootProblem } from '../host/boot-problem.ts';
import { RowSum } from '../../fabric/row-sum.ts';
import { LineSplitter } from './line-splitter.ts';
import { FORMAT, Header, lineHash, TableHead, type TableSum, Trailer } from './format.ts';

const BATCH_ROWS = 500;
/** Characters of a line: of the first, which says what the file is, and of those behind it. More is no backup, however small the file. */
const LONGEST_FIRST = 1_048_576;
const LONGEST = 268_435_456;

/** What stands in a backup, in its order. Rows come in batches; their values are still encoded. */
export type BackupPart =
  | { readonly kind: 'header'; readonly header: Header }
  | { readonly kind: 'table'; readonly head: TableHead }
  | { readonly kind: 'rows'; readonly rows: readonly unknown[][] }
  /** Comes only when all of it was there and as it was written. */
  | { readonly kind: 'end'; readonly tables: readonly TableSum[] };

/** @throws BootProblem when it is no backup, one of a newer build, cut off or damaged. */
export async function* readBackup(file: string): AsyncGenerator<BackupPart, void, void> {
  const reader = new BackupReader(file);
  let rows: unknown[][] = [];
  for await (const line of linesOf(file)) {
    const value = parsed(line, file);
    if (Array.isArray(value)) {
      reader.takeRow(line);
      if (rows.push(value) === BATCH_ROWS) yield { kind: 'rows', rows: rows.splice(0) };
      continue;
    }
    if (rows.length > 0) yield { kind: 'rows', rows: rows.splice(0) };
    yield reader.take(line, value);
  }
  reader.finish();
}

/** Checks while it goes along. */
class BackupReader {
  readonly #file: string;
  readonly #hash = lineHash();
  readonly #tables: { readonly head: TableHead; readonly sum: RowSum }[] = [];
  #begun = false;
  #ended = false;

  constructor(file: string) {
    this.#file = file;
  }

  takeRow(line: string): void {
    const table = this.#tables.at(-1);
    if (table === undefined || this.#ended) throw damaged(this.#file);
    this.#hash.update(`${line}\n`);
    table.sum.add(line);
  }

  take(line: string, value: unknown): BackupPart {
    if (this.#ended) throw damaged(this.#file);
    if (!this.#begun) return this.#begin(line, value);
    const trailer = Trailer.safeParse(value);
    if (trailer.success) return this.#end(trailer.data);
    const head = TableHead.safeParse(value);
    if (!head.success) throw damaged(this.#file);
    this.#hash.update(`${line}\n`);
    this.#tables.push({ head: head.data, sum: new RowSum() });
    return { kind: 'table', head: head.data };
  }

  finish(): void {
    if (!this.#ended) throw damaged(this.#file);
  }

  #begin(line: string, value: unknown): BackupPart {
    const { multilith, format } = (value ?? {}) as Partial<Header>;
    if (multilith !== 'backup') throw noBackup(this.#file);
    if (format !== FORMAT) throw new BootProblem(`${this.#file} was written by a newer build (format ${format}).`, 'Restore it with that build.');
    const header = Header.safeParse(value);
    if (!header.success) throw damaged(this.#file);
    this.#begun = true;
    this.#hash.update(`${line}\n`);
    return { kind: 'header', header: header.data };
  }

  #end({ tables, sha256 }: Trailer): BackupPart {
    const found = this.#tables.map(({ head: { database, table }, sum: { rows, hash } }) => ({ database, table, rows, hash }));
    if (this.#hash.digest('hex') !== sha256 || JSON.stringify(found) !== JSON.stringify(tables)) throw damaged(this.#file);
    this.#ended = true;
    return { kind: 'end', tables };
  }
}

async function* linesOf(file: string): AsyncGenerator<string, void, void> {
  const compressed = createReadStream(file);
  const unpacked = compressed.pipe(createGunzip());
  compressed.on('error', (error) => unpacked.destroy(error));
  const splitter = new LineSplitter();
  let most = LONGEST_FIRST;
  try {
    for await (const text of unpacked.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = splitter.take(text);
      if (Math.max(splitter.pending, lines[0]?.length ?? 0) > most) throw most === LONGEST_FIRST ? noBackup(file) : damaged(file);
      if (lines.length === 0) continue;
      yield* lines;
      most = LONGEST;
    }
  } catch (error) {
    throw unreadable(file, error as NodeJS.ErrnoException);
  } finally {
    compressed.destroy();
  }
  if (splitter.pending > 0) throw damaged(file);
}

function unreadable(file: string, error: NodeJS.ErrnoException): unknown {
  if (error instanceof BootProblem) return error;
  if (error.code === 'Z_DATA_ERROR') return noBackup(file, error);
  if (error.code === 'Z_BUF_ERROR') return damaged(file, error);
  return new BootProblem(`${file} cannot be read (${error.code}).`, 'Name a backup that this user may read.', error);
}

function parsed(line: string, file: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw damaged(file, error);
  }
}

function noBackup(file: string, cause?: unknown): BootProblem {
  return new BootProblem(`${file} is no backup of Multilith, or is damaged.`, 'Name a file that "multilith backup" has written.', cause);
}

function damaged(file: string, cause?: unknown): BootProblem {
  return new BootProblem(`${file} is cut off or damaged: not all of it is as it was written.`, 'Take another backup, or another copy of this one. Nothing was restored.', cause);
}
