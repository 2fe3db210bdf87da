import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { uploadForm } from '../../../../modules/portal/http/upload-form.ts';
import { rejectsWith } from '../../../support/faults.ts';
import { seeded } from '../../../support/seed.ts';

function sent(body: Buffer, type: string, cuts: readonly number[] = []): IncomingMessage {
  const pieces = [...cuts, body.length].map((at, i) => body.subarray(cuts[i - 1] ?? 0, at)).filter(({ length }) => length > 0);
  return Object.assign(Readable.from(pieces, { objectMode: false }), { headers: { 'content-type': type } }) as unknown as IncomingMessage;
}

async function contentOf(request: IncomingMessage): Promise<{ fields: object; file: string }> {
  const { fields, file } = await uploadForm(request);
  const chunks: Uint8Array[] = [];
  for await (const chunk of file) chunks.push(chunk);
  return { fields: Object.fromEntries(fields), file: Buffer.concat(chunks).toString() };
}

test('a form as browsers send it is read the same wherever it is cut, though the file looks like its end', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  for (let round = 0; round < 200; round++) {
    const form = new FormData();
    form.set('csrf', 'tökén');
    form.set('format', 'csv');
    const response = new Response(form);
    const type = response.headers.get('content-type')!;
    const boundary = /boundary=(.+)$/.exec(type)![1]!;
    const file = Array.from({ length: random.whole(6) }, () => ['a', '\r\n', '\r\n--', `\r\n--${boundary.slice(0, -1)}`, '🎉', boundary][random.whole(6)]).join('').replaceAll(`\r\n--${boundary}`, '');
    const fields = Buffer.from(await response.arrayBuffer()).toString().replace(new RegExp(`--${boundary}--\\s*$`), '');
    const body = Buffer.from(`${fields}--${boundary}\r\nContent-Type: text/csv\r\nContent-Disposition: form-data; name="file"; filename="a;name=b.csv"\r\n\r\n${file}\r\n--${boundary}--\r\n`);
    const cuts = Array.from({ length: random.whole(8) }, () => random.whole(body.length)).sort((a, b) => a - b);
    assert.deepEqual(await contentOf(sent(body, type, cuts)), { fields: { csrf: 'tökén', format: 'csv' }, file });
  }
});

test('what is no such form, has no file, ends early or goes on for ever in its head is refused', async () => {
  const type = 'multipart/form-data; boundary=b';
  const field = '--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n';
  await rejectsWith('invalid', uploadForm(sent(Buffer.from(''), 'text/csv')), 'content_type_not_supported');
  for (const body of ['', 'nothing', `${field}y\r\n--b--\r\n`, `${field}${'y'.repeat(9_999)}\r\n--b\r\n`, `${`${field}y\r\n`.repeat(30)}--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--b--\r\n`, '--b\r\nX: y\r\n\r\n\r\n--b--']) await rejectsWith('invalid', uploadForm(sent(Buffer.from(body), type)), 'form_invalid');
  const cut = '--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nhalf of';
  await rejectsWith('invalid', contentOf(sent(Buffer.from(cut), type)), 'form_invalid');
});
