import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import PostalMime from 'postal-mime';
import { parseAddress, suppressionKey } from '../../../modules/notification/compose/address.ts';
import { composeMail, messageIdOf, type MailParts } from '../../../modules/notification/compose/message.ts';
import { seeded } from '../../support/seed.ts';
import { encodeBody } from '../../../modules/notification/compose/transfer-encoding.ts';

const { seed } = seeded(console.log);
const runs = (numRuns: number) => ({ seed, numRuns });

const usual: MailParts = {
  messageId: messageIdOf('0192-test', 'agency.example'),
  to: 'ada@example.com',
  from: { name: 'Agency', email: 'hello@agency.example' },
  subject: 'Hello',
  html: '<p>Hello</p>',
  text: 'Hello',
  unsubscribeUrl: 'https://mail.agency.example/u/token',
  now: Date.UTC(2026, 0, 5, 9, 7, 3),
};
const parse = (parts: Partial<MailParts>) => PostalMime.parse(composeMail({ ...usual, ...parts }));
const lines = (text: string): string => text.replace(/\r\n?|\n/g, '\n').replace(/\n$/, '').toWellFormed();

describe('a composed mail', () => {
  it('has exactly the headers that it should, in order', () => {
    const head = composeMail(usual).toString('latin1').split('\r\n\r\n')[0]!;
    assert.deepEqual(head.split('\r\n').slice(0, -1), [
      'From: Agency <hello@agency.example>',
      'To: ada@example.com',
      'Subject: Hello',
      'Date: Mon, 5 Jan 2026 09:07:03 +0000',
      'Message-ID: <0192-test@agency.example>',
      'MIME-Version: 1.0',
      'List-Unsubscribe: <https://mail.agency.example/u/token>',
      'List-Unsubscribe-Post: List-Unsubscribe=One-Click',
    ]);
  });

  it('reads back as it was written, whatever the texts hold', async () => {
    const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme', maxLength: 300 }), fc.stringMatching(/^[ -~\n]{0,400}$/));
    await fc.assert(
      fc.asyncProperty(text, text, async (html, plain) => {
        const mail = await parse({ html, text: plain });
        assert.equal(lines(mail.html ?? ''), lines(html));
        assert.equal(lines(mail.text ?? ''), lines(plain));
      }),
      runs(1_000),
    );
  });

  it('carries any subject and sender name, and never a header more', async () => {
    const anything = fc.oneof(fc.string({ unit: 'binary', maxLength: 200 }), fc.string({ unit: 'grapheme', maxLength: 200 }), fc.constantFrom('a\r\nBcc: x@y.example', 'x\0y', '=?utf-8?Q?=0D=0A?=', 'a  b', '"quo\\ted", <x@y.example>', ' '.repeat(100)));
    await fc.assert(
      fc.asyncProperty(anything, anything, async (subject, name) => {
        const raw = composeMail({ ...usual, subject, from: { ...usual.from, name } }).toString('latin1');
        const mail = await PostalMime.parse(raw);
        assert.equal(mail.headers.length, 9);
        assert.equal(squash(mail.subject ?? ''), squash(subject));
        assert.equal(mail.from?.address, 'hello@agency.example');
        assert.equal(squash(mail.from?.name ?? ''), squash(name));
        assert.deepEqual(mail.to?.map((to) => to.address), ['ada@example.com']);
      }),
      runs(1_000),
    );
  });

  it('says nothing in a header that control characters could', () => {
    const raw = composeMail({ ...usual, subject: 'ä\r\nBcc: x@y.example\0', from: { ...usual.from, name: 'ö\n\u0007' } }).toString('latin1');
    const words = [...raw.matchAll(/=\?utf-8\?B\?([^?]*)\?=/g)].map(([, word]) => Buffer.from(word!, 'base64').toString());
    assert.deepEqual(words, ['ö', 'ä Bcc: x@y.example']);
  });

  it('is ASCII in lines of at most 998 characters that end in CRLF', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 3_000 }), fc.string({ unit: 'grapheme', maxLength: 400 }), (body, subject) => {
        const raw = composeMail({ ...usual, html: body, subject }).toString('latin1');
        assert.match(raw, /^[\t\r\n\x20-\x7e]*$/);
        assert.doesNotMatch(raw.replaceAll('\r\n', ''), /[\r\n]/);
        for (const line of raw.split('\r\n')) assert.ok(line.length <= 998);
      }),
      runs(500),
    );
  });

  it('keeps its parts apart when a body holds the usual boundary', async () => {
    const boundary = /boundary="(.*)"/.exec(composeMail(usual).toString('latin1'))![1]!;
    const hostile = `x\n--${boundary}\nContent-Type: text/html\n\n<b>forged</b>\n--${boundary}--\n`;
    assert.equal((await parse({ text: hostile })).html, '<p>Hello</p>\n');
  });
});

/** What every reader does to a header: control characters count as spaces, and spaces at the ends do not count. */
function squash(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f]+/g, ' ').toWellFormed().trim();
}

describe('a body', () => {
  it('goes as it is when that is safe, else in an encoding', () => {
    assert.equal(encodeBody('plain\n').encoding, '7bit');
    assert.equal(encodeBody('x'.repeat(999)).encoding, 'quoted-printable');
    assert.equal(encodeBody('From here').encoding, 'quoted-printable');
    assert.equal(encodeBody('ends with a space \n').encoding, 'quoted-printable');
    assert.equal(encodeBody('Viele Grüße aus dem sonnigen Süden').encoding, 'quoted-printable');
    assert.equal(encodeBody('日本語のメール').encoding, 'base64');
  });

  it('holds no line over 76 characters once it is encoded', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', 'é', '=', ' ', '\n', '.', 'F'), maxLength: 600 }), (text) => {
        const body = encodeBody(`${text}é`);
        for (const line of body.text.split('\r\n')) assert.ok(line.length <= 76, line);
      }),
      runs(500),
    );
  });
});

describe('an address', () => {
  it('is taken when any server would take it', () => {
    for (const [given, email] of [
      ['ada@example.com', 'ada@example.com'],
      [' Ada.L+x@Example.COM ', 'Ada.L+x@example.com'],
      ["o'neil@sub.example.co.uk", "o'neil@sub.example.co.uk"],
      ['ada@müller.example', 'ada@xn--mller-kva.example'],
      ['root@localhost', 'root@localhost'],
    ] as const) assert.equal(parseAddress(given)?.email, email);
  });

  it('is refused when it hides something or goes nowhere', () => {
    for (const given of ['', 'ada', '@example.com', 'ada@', 'ada@@example.com', '"a@b.example"@example.com', 'ada@example', 'ada@[127.0.0.1]', 'ada@1.2.3.4',
      'ada@exa mple.com', 'ada@example.com, eve@example.com', 'ada@example.com\r\nRCPT TO:<eve@example.com>', 'a..b@example.com', '.a@example.com', 'a.@example.com',
      'ada@-x.example', 'ada@example..com', 'ada@exam%70le.com', 'ada@example.com\0', '<ada@example.com>', 'jürgen@example.com', `${'a'.repeat(65)}@example.com`,
      `a@${'b'.repeat(64)}.example`, `ada@${'a.'.repeat(130)}example`, 'ada@ｅxample/x.com']) assert.equal(parseAddress(given), null, JSON.stringify(given));
  });

  it('is suppressed whatever its case', () => {
    assert.equal(suppressionKey(' ADA@Müller.Example'), 'ada@xn--mller-kva.example');
  });
});
