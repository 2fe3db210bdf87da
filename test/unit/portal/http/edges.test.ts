import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { clientAddress } from '../../../../modules/portal/http/address.ts';
import { parseJson } from '../../../../modules/portal/http/body.ts';
import { Cookies, readCookie } from '../../../../modules/portal/http/cookies.ts';
import { originOf } from '../../../../modules/portal/http/origin.ts';
import { html } from '../../../../modules/portal/pages/html.ts';

const from = (remoteAddress: string, forwarded?: string) => ({ socket: { remoteAddress }, headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded } }) as unknown as IncomingMessage;

test('the client is who connects, or whom our own proxies say, and never whom the client says', () => {
  assert.equal(clientAddress(from('192.0.2.1', '198.51.100.1'), 0), '192.0.2.1');
  assert.equal(clientAddress(from('10.0.0.1', '198.51.100.1'), 1), '198.51.100.1');
  assert.equal(clientAddress(from('10.0.0.1', '6.6.6.6, 198.51.100.1'), 1), '198.51.100.1');
  assert.equal(clientAddress(from('10.0.0.1', '6.6.6.6, 198.51.100.1, 10.0.0.2'), 2), '198.51.100.1');
  assert.equal(clientAddress(from('10.0.0.1', '<script>'), 1), '10.0.0.1');
  assert.equal(clientAddress(from('10.0.0.1'), 1), '10.0.0.1');
});

test('over https the cookies are tied to host and TLS', () => {
  const cookies = new Cookies('https://mail.example');
  assert.equal(cookies.session('s'), '__Host-session=s; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure');
  assert.match(cookies.form('f'), /^__Host-form=f; Path=\/; .*Secure$/);
  assert.equal(new Cookies('http://127.0.0.1:8080').sessionName, 'session');
});

test('a cookie is found by its whole name', () => {
  assert.equal(readCookie('xsession=evil; session=good; session=later', 'session'), 'good');
  assert.equal(readCookie('session; a=b', 'session'), undefined);
  assert.equal(readCookie(undefined, 'session'), undefined);
});

test('the browser\'s own word on where a request comes from goes before Origin', () => {
  const ours = 'https://mail.example';
  assert.equal(originOf({ 'sec-fetch-site': 'same-origin' }, ours), 'same');
  for (const site of ['cross-site', 'same-site', 'none', 'anything']) assert.equal(originOf({ 'sec-fetch-site': site, origin: ours }, ours), 'other', site);
  assert.equal(originOf({ origin: `${ours}` }, `${ours}/`), 'same');
  assert.equal(originOf({ origin: 'http://mail.example' }, ours), 'other');
  assert.equal(originOf({}, ours), 'unknown');
});

test('whatever is put into a page is text, unless it is HTML of ours', () => {
  assert.equal(html`<p title="${'"><script>'}">${html`<b>${'<&\'>'}</b>`}${null}${7}${[html`<i></i>`]}</p>`.text, '<p title="&#34;&#62;&#60;script&#62;"><b>&#60;&#38;&#39;&#62;</b>7<i></i></p>');
});

test('a large body may be large by its texts, not by how many values it holds', () => {
  const json = (value: object) => parseJson(Buffer.from(JSON.stringify(value)), 'application/json');
  const texts = { draft: { body: 'a, [b] {c} \\ "d" '.repeat(60_000), text: '\\' } };
  assert.deepEqual(json(texts), texts);
  for (const many of [{ draft: Array(60_000).fill([]) }, { draft: Array(120_000).fill('') }, Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [i, 0]))]) {
    assert.throws(() => json(many), { code: 'invalid', reason: 'fields_invalid' });
  }
});
