import assert from 'node:assert/strict';
import { test } from 'node:test';
import { csvLine } from '../../../../modules/portal/files/csv-line.ts';
import { type CsvRow, csvRows } from '../../../../modules/portal/imports/csv-row.ts';
import { type FileRow, type ImportFormat, peopleOf } from '../../../../modules/portal/imports/people-file.ts';
import { MOST_ROW_BYTES, type Place, TextRows } from '../../../../modules/portal/imports/text-rows.ts';
import { unguarded } from '../../../../modules/portal/files/formula-guard.ts';
import { rejectsWith } from '../../../support/faults.ts';
import { seeded } from '../../../support/seed.ts';

const START: Place = { position: 0, line: 1 };

async function* inPieces(text: string | Uint8Array, size = Infinity): AsyncGenerator<Uint8Array, void, void> {
  const bytes = Buffer.from(text as string);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function rowsOf(format: ImportFormat, text: string | Uint8Array, size?: number): Promise<FileRow[]> {
  const rows: FileRow[] = [];
  for await (const batch of peopleOf(format, inPieces(text, size), START, 5)) rows.push(...batch.rows);
  return rows;
}

function csvFieldsOf(bytes: Uint8Array, cuts: readonly number[]): (readonly string[] | string)[] {
  const rows = new TextRows<CsvRow>(csvRows());
  const found: (readonly string[] | string)[] = [];
  const take = () => {
    for (let row = rows.take(); row !== undefined; row = rows.take()) found.push(typeof row.content === 'string' ? row.content : row.content.fields);
  };
  for (const [i, at] of cuts.entries()) {
    rows.push(bytes.subarray(cuts[i - 1] ?? 0, at));
    take();
  }
  rows.push(bytes.subarray(cuts.at(-1) ?? 0));
  rows.end();
  take();
  return found;
}

test('what exports write is read as it was, wherever the pieces of the file are cut', (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const alphabet = ['a', ',', ';', '\t', '"', "'", '=', '+', '-', '@', ' ', '\n', '\r\n', 'ä', '\u2028', '🎉', '\u{1d11e}', '\u{e0001}', '\u{10fffd}', '\ufeff'];
  const text = () => Array.from({ length: random.whole(8) }, () => alphabet[random.whole(alphabet.length)]).join('');
  for (let round = 0; round < 300; round++) {
    const width = 2 + random.whole(4);
    const rows = [Array.from({ length: width }, (_, i) => `c${i}`), ...Array.from({ length: 1 + random.whole(5) }, () => Array.from({ length: width }, text))];
    const bytes = Buffer.from(rows.map(csvLine).join(''));
    const cuts = Array.from({ length: random.whole(6) }, () => random.whole(bytes.length)).sort((a, b) => a - b);
    assert.deepEqual(csvFieldsOf(bytes, cuts).map((fields) => (fields as string[]).map(unguarded)), rows);
  }
});

test('a line that is broken or too long is refused with its number, and the others are taken', async () => {
  const long = 'x'.repeat(MOST_ROW_BYTES);
  const lines = ['userId,note', 'a,"fine\nstill"', 'b,"never closed', 'c,"x"y', 'd,ok', `e,${long}`, 'f', 'g,1,2', '', 'h,5" pipe', 'i,"open to the end'];
  for (const size of [Infinity, 1_000, 61]) {
    const rows = await rowsOf('csv', lines.join('\n'), size);
    const told = rows.map(({ line, person, problems }) => [line, person?.userId ?? problems.map(({ reason }) => reason).join()]);
    assert.deepEqual(told, [[2, 'a'], [4, 'quote_misplaced'], [5, 'quote_misplaced'], [6, 'd'], [7, 'row_too_long'], [8, 'fields_differ'], [9, 'fields_differ'], [11, 'h'], [12, 'quote_not_closed']], `in pieces of ${size}`);
  }
  const latin = Buffer.concat([Buffer.from('{"userId":"a"}\n'), Buffer.from('{"userId":"bä"}\n', 'latin1'), Buffer.from('[1]\n{"userId":\n \n{"userId":"c","__proto__":{}}\n{"userId":"d"}')]);
  const json = (await rowsOf('ndjson', latin, 5)).map(({ line, person, problems }) => [line, person?.userId ?? problems[0]!.reason]);
  assert.deepEqual(json, [[1, 'a'], [2, 'not_utf8'], [3, 'not_an_object'], [4, 'json_invalid'], [6, 'name_forbidden'], [7, 'd']]);
});

test('broken rows cost no more than they hold: quotes that pair with nothing are not looked for again and again', async () => {
  for (const [line, end] of [['a","c\n', ''], ['a","c\n', '"x']] as const) {
    const rows = await rowsOf('csv', `userId,b\n${line.repeat(60_000)}${end}`, 65_536);
    assert.ok(rows.length > 1 && rows.length < 12, `${rows.length} rows of ${JSON.stringify(line + end)}`);
  }
});

test('columns say what they hold, and nothing is guessed from how a value looks', async () => {
  const head = '\ufeffUser ID:text;userId;E-Mail;Email;zip;attributes.createdAt;estimate:number;member:boolean;tags:json;unsubscribed;createdAt';
  const [row] = await rowsOf('csv', `${head}\r\nx;17;;" ana@example.com ";01234;then;-1.50e2;TRUE;"[1,null,""🎉""]";false;9\r\n`);
  assert.deepEqual(row!.problems, []);
  const { userId, email, consent, traits, personId } = row!.person!;
  assert.deepEqual([userId, email, consent, personId], ['17', 'ana@example.com', null, null]);
  assert.deepEqual(traits, { 'User ID': 'x', email: 'ana@example.com', zip: '01234', createdAt: 'then', estimate: -150, member: true, tags: [1, null, '🎉'] });
});

test('a row with anything wrong in it is refused whole, with each column and why', async () => {
  const head = 'userId,email,timeZone,consentEmail,attributes,age:number,vip:boolean,more:json';
  const rows = await rowsOf('csv', [head, `a,no address,Mars/Base,maybe,[],ten,perhaps,{`, ',,,,,,,', `${'u'.repeat(256)},,,,"{""__proto__"":1}",1e999,,`].join('\n'));
  assert.deepEqual(rows.map(({ person }) => person), [null, null, null]);
  assert.deepEqual(rows[0]!.problems, [['consentEmail', 'consent_invalid'], ['attributes', 'attributes_invalid'], ['age:number', 'number_invalid'], ['vip:boolean', 'boolean_invalid'], ['more:json', 'json_invalid']].map(([field, reason]) => ({ field, reason })));
  assert.deepEqual(rows[1]!.problems, [{ field: '', reason: 'identity_missing' }]);
  assert.deepEqual(rows[2]!.problems.map(({ reason }) => reason), ['user_id_invalid', 'name_forbidden', 'number_out_of_range']);
  const wide = await rowsOf('ndjson', JSON.stringify({ userId: 'a', ...Object.fromEntries(Array.from({ length: 501 }, (_, n) => [`a${n}`, n])) }));
  assert.deepEqual(wide[0]!.problems, [{ field: '', reason: 'attributes_too_many' }]);
  const kept = await rowsOf('csv', 'userId,email,timeZone\na,no address,Mars/Base\n');
  assert.deepEqual(kept[0]!.problems, [{ field: 'email', reason: 'email_invalid' }, { field: 'timeZone', reason: 'time_zone_invalid' }]);
});

test('a first line that serves for nothing is said at once', async () => {
  const cases: [string | Uint8Array, string][] = [['', 'header_invalid'], [Buffer.from([0x50, 0x4b, 3, 4, 0xff, 0x0a]), 'header_invalid'], ['name,city\nx,y', 'identity_column_missing'], ['email,Email\n', 'column_repeated'], ['email,,b\n', 'column_invalid'], ['email,__proto__\n', 'column_invalid'], ['email,"b\n', 'header_invalid'], [`email${',x'.repeat(1_000)}\n`, 'columns_too_many']];
  for (const [text, reason] of cases) await rejectsWith('invalid', rowsOf('csv', text), reason);
});

test('reading goes on where it stopped: each row once, with the same line', async () => {
  const lines = Array.from({ length: 1_000 }, (_, n) => (n % 200 > 197 ? `u${n},"bro"ken` : `u${n},"${n % 7 === 0 ? 'two\nlines' : 'one'}"`));
  const text = ['userId,note', ...lines].join('\r\n');
  const all = await rowsOf('csv', text);
  let place = START;
  const seen: FileRow[] = [];
  for (let batches = 0; ; batches++) {
    const next = await peopleOf('csv', inPieces(text, 1_000), place, 5).next();
    if (next.done === true) break;
    seen.push(...next.value.rows);
    if (next.value.next.position === Buffer.byteLength(text)) break;
    place = next.value.next;
    assert.ok(batches < 10);
  }
  assert.deepEqual(seen, all);
});
