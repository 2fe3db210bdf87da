import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { unguarded } from '../files/formula-guard.ts';
import type { ListedDenial, ListedPerson } from '../ingest/batch-run.ts';
import { isObject } from '../ingest/wire-item.ts';
import { ROWS_A_TURN } from '../pieces.ts';
import { type Column, columnsOf, readJson, subjectOf } from './columns.ts';
import { type CsvRow, csvRows } from './csv-row.ts';
import { type JsonRow, jsonRows } from './json-row.ts';
import { type FieldProblem, PersonDraft } from './person-draft.ts';
import { type Place, type TextRow, TextRows } from './text-rows.ts';

/** For one transaction. */
const MOST_ROWS = 200;
const MOST_BATCH_BYTES = 262_144;

/** A row of the file: the person, or what is wrong. */
export interface FileRow {
  readonly line: number;
  readonly person: ListedPerson | null;
  /** Counts all the same where there is no person. */
  readonly denial: ListedDenial | null;
  readonly problems: readonly FieldProblem[];
}

export interface FileBatch {
  readonly rows: readonly FileRow[];
  /** Where the next batch begins. */
  readonly next: Place;
}

export const ImportFormat = z.enum(['csv', 'ndjson']);
export type ImportFormat = z.infer<typeof ImportFormat>;

type ReadPerson<T> = (content: T, draft: PersonDraft) => void;

interface FormatOf<T extends object> {
  readonly rows: TextRows<T>;
  /** Read from the file's own head; undefined while it has not come. Fault `invalid` for a head that serves for nothing. */
  head(): ReadPerson<T> | undefined;
  isBlank(content: T): boolean;
}

/**
 * The people of a file that comes in pieces, in batches, from where an earlier reading stopped. `time` is when what it
 * says was said. Faults `invalid` when its first line serves for nothing (`columnsOf`, and `header_invalid`).
 */
export async function* peopleOf(format: ImportFormat, chunks: AsyncIterable<Uint8Array>, from: Place, time: EpochMs): AsyncGenerator<FileBatch, void, void> {
  yield* format === 'csv' ? batchesOf(csvFormat(), chunks, from, time) : batchesOf<JsonRow>(jsonFormat(), chunks, from, time);
}

async function* batchesOf<T extends object>({ rows, head, isBlank }: FormatOf<T>, chunks: AsyncIterable<Uint8Array>, from: Place, time: EpochMs): AsyncGenerator<FileBatch, void, void> {
  let read: ReadPerson<T> | undefined;
  let batch: FileRow[] = [];
  let began = from.position;
  let looked = 0;
  const taken = async function* (): AsyncGenerator<FileBatch, void, void> {
    if (read === undefined) {
      read = head();
      if (read === undefined) return;
      if (from.position > 0) rows.skipTo(from);
    }
    for (let row = rows.take(); row !== undefined; row = rows.take()) {
      if (typeof row.content === 'string' || !isBlank(row.content)) batch.push(fileRow(row, read, time));
      if (++looked % ROWS_A_TURN === 0) await nextTurn();
      if (batch.length < MOST_ROWS && rows.place.position - began < MOST_BATCH_BYTES) continue;
      yield { rows: batch, next: rows.place };
      batch = [];
      began = rows.place.position;
    }
  };
  for await (const chunk of chunks) {
    rows.push(chunk);
    yield* taken();
  }
  rows.end();
  yield* taken();
  if (read === undefined) throw headerInvalid();
  yield { rows: batch, next: rows.place };
}

function fileRow<T>({ line, content }: TextRow<T>, read: ReadPerson<T>, time: EpochMs): FileRow {
  const draft = new PersonDraft();
  if (typeof content === 'string') draft.refuse('', content);
  else read(content, draft);
  const person = draft.problems.length > 0 ? null : draft.finish(time);
  return { line, person, denial: person === null ? draft.denial(time) : null, problems: draft.problems };
}

function csvFormat(): FormatOf<CsvRow> {
  const rows = new TextRows(csvRows());
  return {
    rows,
    head() {
      const first = rows.take();
      if (first === undefined) return undefined;
      if (typeof first.content === 'string') throw headerInvalid();
      const columns = columnsOf(first.content.fields);
      return ({ fields }, draft) => readFields(columns, fields, draft);
    },
    isBlank: ({ fields }) => fields.length === 1 && fields[0] === '',
  };
}

function readFields(columns: readonly Column[], fields: readonly string[], draft: PersonDraft): void {
  if (fields.length !== columns.length) return draft.refuse('', 'fields_differ');
  for (const [at, { heading, subject, read }] of columns.entries()) {
    const text = unguarded(fields[at]!);
    // Nothing is said, not even that there is nothing.
    if (text === '') continue;
    const found = read(text);
    if (typeof found === 'string') draft.refuse(heading, found);
    else draft.take(heading, subject, found.value);
  }
}

function jsonFormat(): FormatOf<JsonRow> {
  return { rows: new TextRows(jsonRows), head: () => readObject, isBlank: ({ text }) => text.trim() === '' };
}

function readObject({ text }: JsonRow, draft: PersonDraft): void {
  const found = readJson(text);
  if (typeof found === 'string') return draft.refuse('', found);
  if (!isObject(found.value)) return draft.refuse('', 'not_an_object');
  for (const [name, value] of Object.entries(found.value)) draft.take(name, subjectOf(name), value);
}

function headerInvalid(): Fault {
  return new Fault('invalid', 'The file does not begin with a line that names its columns, in UTF-8.', { reason: 'header_invalid' });
}
