import { Fault } from '../../../src/kernel/fault.ts';
import { unguarded } from '../files/formula-guard.ts';
import { mayHoldUnstorableText, problemOf, storable, type ValueProblem } from '../ingest/plain-json.ts';
import { isAttributeName } from '../people/traits.ts';

/** What a column of a CSV file, or a field of a JSON object, speaks of. */
export type Subject = { readonly kind: 'personId' | 'userId' | 'email' | 'consent' | 'unsubscribed' | 'attributes' | 'nothing' } | { readonly kind: 'trait'; readonly trait: string };

/** Names that are no attributes', in small letters: people write their headings as they like. */
const SUBJECTS: ReadonlyMap<string, Subject> = new Map<string, Subject>([
  ['personid', { kind: 'personId' }],
  ['userid', { kind: 'userId' }],
  ['email', { kind: 'email' }],
  ['timezone', { kind: 'trait', trait: 'timeZone' }],
  ['consentemail', { kind: 'consent' }],
  ['emailconsent', { kind: 'consent' }],
  ['unsubscribed', { kind: 'unsubscribed' }],
  ['attributes', { kind: 'attributes' }],
  ['traits', { kind: 'attributes' }],
]);
/** Stand in every export, and are ours to say. */
const OURS = new Set(['createdAt', 'updatedAt']);
const PREFIX = /^(?:attributes|traits)\./;

export function subjectOf(name: string): Subject {
  if (OURS.has(name)) return { kind: 'nothing' };
  return SUBJECTS.get(name.toLowerCase()) ?? { kind: 'trait', trait: name.replace(PREFIX, '') };
}

export type CellProblem = ValueProblem | 'number_invalid' | 'boolean_invalid' | 'json_invalid';

/** What the text of a field says; undefined for nothing. */
type ReadCell = (text: string) => { readonly value: unknown } | CellProblem;

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** Nothing is guessed from how a value looks: postal codes and telephone numbers are no numbers. */
const TYPES = {
  text: (text) => ({ value: storable(text) }),
  number: (text) => (!NUMBER.test(text.trim()) ? 'number_invalid' : Number.isFinite(Number(text)) ? { value: Number(text) } : 'number_out_of_range'),
  boolean: (text) => (/^(?:true|false)$/i.test(text.trim()) ? { value: text.trim().toLowerCase() === 'true' } : 'boolean_invalid'),
  json: readJson,
} as const satisfies Record<string, ReadCell>;
const TYPED = /^(.+):(text|number|boolean|json)$/s;

export interface Column {
  /** As the file has it. */
  readonly heading: string;
  readonly subject: Subject;
  readonly read: ReadCell;
}

/** More than anybody can fill: a person has 500 attributes at most. */
const MOST_COLUMNS = 1_000;

/** Fault `invalid`: `columns_too_many`, `column_invalid` (no name, or none that an attribute may have), `column_repeated`, `identity_column_missing`. */
export function columnsOf(headings: readonly string[]): Column[] {
  if (headings.length > MOST_COLUMNS) throw new Fault('invalid', `A file may have ${MOST_COLUMNS} columns.`, { reason: 'columns_too_many' });
  const columns = headings.map((written) => columnOf(unguarded(written.trim())));
  const seen = new Set<string>();
  for (const { subject } of columns) {
    const key = JSON.stringify(subject);
    if (seen.has(key) && subject.kind !== 'nothing') throw new Fault('invalid', 'Two columns speak of the same.', { reason: 'column_repeated' });
    seen.add(key);
  }
  if (!columns.some(({ subject: { kind } }) => kind === 'userId' || kind === 'personId' || kind === 'email')) {
    throw new Fault('invalid', 'The first line names neither userId nor personId nor email.', { reason: 'identity_column_missing' });
  }
  return columns;
}

function columnOf(heading: string): Column {
  const [, name, type] = TYPED.exec(heading) ?? [];
  const subject = subjectOf(name ?? heading);
  const isNamed = subject.kind !== 'trait' || (isAttributeName(subject.trait) && !subject.trait.includes('\0'));
  if (!isNamed) throw new Fault('invalid', 'A column has no name, or one that no attribute may have.', { reason: 'column_invalid' });
  return { heading, subject, read: TYPES[(type as keyof typeof TYPES | undefined) ?? ownType(subject)] };
}

function ownType({ kind }: Subject): keyof typeof TYPES {
  return kind === 'attributes' ? 'json' : kind === 'unsubscribed' ? 'boolean' : 'text';
}

/** A JSON text, as it can be stored; its problem when it is none, or says what nobody could pass on. */
export function readJson(text: string): { readonly value: unknown } | 'json_invalid' | ValueProblem {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'json_invalid';
  }
  return problemOf(value) ?? { value: mayHoldUnstorableText(text) ? storable(value) : value };
}
