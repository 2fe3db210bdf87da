import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { BootProblem } from '../host/boot-problem.ts';
import { RowSum } from '../../fabric/row-sum.ts';
import { LineSplitter } from './line-splitter.ts';
import { FORMAT, Header, lineHash, TableHead, type TableSum, Trailer } from './format.ts';

const BATCH_ROWS = 500;
const BATCH_CHARACTERS = 4_194_304;
/** Unpacked at once: each time is a way to another thread and back. */
const CHUNK_BYTES = 262_144;
const MOST_TABLES = 1_000;
const ANOTHER = 'Take another backup, or another copy of this one. Nothing was restored.';
/** Characters of a line: of the first, which says what the file is, and of those behind it. More is no backup, however small the file. */
const LONGEST_FIRST = 1_048_576;
const LONGEST = 268_435_456;

/** What stands in a backup, in its order. Rows come in batches; their values are still encoded. */
export type BackupPart =
  | { readonly kind: 'header'; readonly header: Header }
  | { readonly kind: 'table'; readonly head: TableHead }
  | { readonly kind: 'rows'; readonly rows: readonly unknown[][]; /** As text. */ readonly characters: number }
  /** Comes only when all of it was there and as it was written. */
  | { readonly kind: 'end'; readonly tables: readonly TableSum[]; /** Of all of it. */ readonly sha256: string };

/** @throws BootProblem when it is no backup, one of a newer build, cut off or damaged, naming the line and the table. */
export async function* readBackup(file: string): AsyncGenerator<BackupPart, void, void> {
  const reader = new BackupReader(file);
  let rows: unknown[][] = [];
  let characters = 0;
  const batch = (): BackupPart => {
    const part: BackupPart = { kind: 'rows', rows, characters };
    [rows, characters] = [[], 0];
    return part;
  };
  for await (const line of linesOf(file)) {
    const value = reader.parse(line);
    if (Array.isArray(value)) {
      reader.takeRow(line, value);
      characters += line.length;
      if (rows.push(value) === BATCH_ROWS || characters >= BATCH_CHARACTERS) yield batch();
      continue;
    }
    if (rows.length > 0) yield batch();
    yield reader.take(line, value);
  }
  reader.finish();
}

interface Table {
  readonly head: TableHead;
  readonly sum: RowSum;
}

/** Checks while it goes along. */
class BackupReader {
  readonly #file: string;
  readonly #hash = lineHash();
  readonly #tables = new Map<string, Table>();
  #header: Header | undefined;
  #table: Table | undefined;
  #line = 0;
  #ended = false;

  constructor(file: string) {
    this.#file = file;
  }

  parse(line: string): unknown {
    this.#line++;
    try {
      return JSON.parse(line);
    } catch (error) {
      throw this.#header === undefined ? noBackup(this.#file, error) : this.#malformed('it is no JSON', error);
    }
  }

  takeRow(line: string, row: readonly unknown[]): void {
    if (this.#header === undefined) throw noBackup(this.#file);
    if (this.#table === undefined || this.#ended) throw this.#malformed('a row belongs to a table');
    const { head, sum } = this.#table;
    if (row.length !== head.columns.length) throw this.#malformed(`a row has ${head.columns.length} values, and this one ${row.length}`);
    const wrong = row.findIndex((value) => !isStored(value));
    if (wrong !== -1) throw this.#malformed(`the value of ${head.columns[wrong]} is neither text nor a number, bytes or null`);
    this.#hash.update(`${line}\n`);
    sum.add(line);
  }

  take(line: string, value: unknown): BackupPart {
    if (this.#header === undefined) return this.#begin(line, value);
    if (this.#ended) throw this.#malformed('it stands behind the end');
    const trailer = Trailer.safeParse(value);
    if (trailer.success) return this.#end(trailer.data);
    const head = TableHead.safeParse(value);
    if (!head.success) throw this.#malformed('it is neither a row nor the head of a table');
    this.#hash.update(`${line}\n`);
    return this.#beginTable(head.data, this.#header);
  }

  finish(): void {
    if (!this.#ended) throw damaged(this.#file);
  }

  #begin(line: string, value: unknown): BackupPart {
    const { multilith, format } = (value ?? {}) as Partial<Header>;
    if (multilith !== 'backup') throw noBackup(this.#file);
    if (typeof format === 'number' && format > FORMAT) throw new BootProblem(`${this.#file} was written by a newer build (format ${format}).`, 'Restore it with that build.');
    const header = Header.safeParse(value);
    if (!header.success || format !== FORMAT) throw this.#malformed('it does not say what the backup holds');
    const names = header.data.databases.map(({ name }) => name);
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) throw this.#malformed(`it names the database ${JSON.stringify(twice)} twice`);
    this.#header = header.data;
    this.#hash.update(`${line}\n`);
    return { kind: 'header', header: header.data };
  }

  #beginTable(head: TableHead, { databases }: Header): BackupPart {
    const { database, table, columns } = head;
    const key = JSON.stringify([database, table]);
    if (!databases.some(({ name }) => name === database)) throw this.#malformed(`the first line names no database ${JSON.stringify(database)}`);
    if (this.#tables.has(key)) throw this.#malformed(`the table ${table} of ${database} is there twice`);
    if (new Set(columns).size !== columns.length) throw this.#malformed(`the table ${table} of ${database} has a column twice`);
    if (this.#tables.size === MOST_TABLES) throw this.#malformed(`there are more than ${MOST_TABLES} tables`);
    this.#table = { head, sum: new RowSum() };
    this.#tables.set(key, this.#table);
    return { kind: 'table', head };
  }

  #end({ tables, sha256 }: Trailer): BackupPart {
    const found = [...this.#tables.values()].map(({ head: { database, table }, sum: { rows, hash } }) => ({ database, table, rows, hash }));
    if (this.#hash.digest('hex') !== sha256 || JSON.stringify(found) !== JSON.stringify(tables)) throw damaged(this.#file);
    this.#ended = true;
    return { kind: 'end', tables, sha256 };
  }

  #malformed(what: string, cause?: unknown): BootProblem {
    const table = this.#table === undefined ? '' : ` (table ${this.#table.head.table} of ${this.#table.head.database})`;
    return new BootProblem(`${this.#file} is damaged, or not written by "multilith backup": line ${this.#line}${table}: ${what}.`, ANOTHER, cause);
  }
}

/** What the storage port has, as it is written. */
function isStored(value: unknown): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'number') return true;
  return typeof value === 'object' && Object.keys(value).join() === 'base64' && typeof (value as { base64: unknown }).base64 === 'string';
}

async function* linesOf(file: string): AsyncGenerator<string, void, void> {
  const compressed = createReadStream(file);
  const unpacked = compressed.pipe(createGunzip({ chunkSize: CHUNK_BYTES }));
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

function noBackup(file: string, cause?: unknown): BootProblem {
  return new BootProblem(`${file} is no backup of Multilith, or is damaged.`, 'Name a file that "multilith backup" has written.', cause);
}

function damaged(file: string, cause?: unknown): BootProblem {
  return new BootProblem(`${file} is cut off or damaged: not all of it is as it was written.`, ANOTHER, cause);
}
