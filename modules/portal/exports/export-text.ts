import { csvLine } from '../files/csv-line.ts';
import type { EventRow, PersonRow } from '../tables.ts';

export type Row = Readonly<Record<string, string | number | null>>;

/** What a row comes to. */
export interface Exported {
  readonly fields: readonly { readonly name: string; /** It holds JSON text. */ readonly isJson?: true; readonly of: (row: Row) => string | number | null }[];
}

const same = <R>(name: string, column: keyof R & string) => ({ name, of: (row: Row) => row[column]! });
const json = <R>(name: string, column: keyof R & string) => ({ name, isJson: true as const, of: (row: Row) => row[column]! });

const person = { same: same<PersonRow>, json: json<PersonRow> };
const event = { same: same<EventRow>, json: json<EventRow> };

export const EXPORTED = {
  people: {
    fields: [person.same('personId', 'id'), person.same('userId', 'user_id'), person.same('email', 'email'), person.same('timeZone', 'time_zone'), person.same('consentEmail', 'consent_email'), person.json('attributes', 'attributes_json'), person.same('createdAt', 'created_at'), person.same('updatedAt', 'updated_at')],
  },
  events: {
    fields: [event.same('eventId', 'id'), event.same('personId', 'person_id'), event.same('type', 'type'), event.same('name', 'name'), event.json('properties', 'properties_json'), event.json('context', 'context_json'), event.same('time', 'time'), event.same('receivedAt', 'received_at')],
  },
} as const satisfies Record<string, Exported>;

/** How rows become text, one line each (but for line ends within a CSV field). */
export const FORMATS = {
  csv: { type: 'text/csv; charset=utf-8', head: ({ fields }: Exported) => csvLine(fields.map(({ name }) => name)), line: ({ fields }: Exported, row: Row) => csvLine(fields.map(({ of }) => of(row))) },
  ndjson: { type: 'application/x-ndjson', head: () => '', line: ndjsonLine },
} as const satisfies Record<string, { type: string; head(of: Exported): string; line(of: Exported, row: Row): string }>;

/** What is JSON text already is not read: it holds no line ends. */
function ndjsonLine({ fields }: Exported, row: Row): string {
  return `{${fields.map(({ name, isJson, of }) => `"${name}":${isJson ? (of(row) ?? 'null') : JSON.stringify(of(row))}`).join(',')}}\n`;
}
