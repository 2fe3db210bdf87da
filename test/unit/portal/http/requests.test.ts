import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { bearer, fromOurPage, type PortalWeb, type Reply, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let cookie: string;
/** A key of the first workspace, and one of another. */
let mine: Record<string, string>;
let foreign: Record<string, string>;

before(async () => {
  web = await startPortalWeb();
  ({ cookie } = await web.setUp());
  mine = bearer(await web.key(cookie));
  const second = await web.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'Second' } });
  foreign = bearer(await web.key(cookie, undefined, second.json.workspaceId as string));
});
after(() => web.close());

const draft = { subject: 'Hi', format: 'html', body: '<p>Hi</p>', text: null, from: null };
const post = (path: string, body: unknown, headers: Record<string, string> = {}) => web.ask(path, { method: 'POST', headers: { ...mine, ...headers }, body });
const makeTemplate = async (name = 'T') => (await post('/api/v1/templates', { name, draft })).json.templateId as string;
const expect = (reply: Reply, status: number, reason: string) => {
  assert.deepEqual([reply.status, reply.json?.reason], [status, reason], reply.text);
  assert.match(String(reply.headers['content-type']), /^application\/problem\+json/);
  assert.equal(reply.json.status, status);
  assert.equal(reply.json.callId, reply.headers['x-call-id']);
  return reply;
};

test('a problem names every wrong field, the kind of what was there, and what to do, but never the value', async () => {
  const reply = expect(await post('/api/v1/templates', { name: 7, draft: { ...draft, subject: '', format: 'pdf', from: { name: 'A', email: 'private@', extra: 1 } }, role: 'owner' }), 400, 'fields_invalid');
  const fields = Object.fromEntries(reply.json.errors.map((error: { field: string; kind: string }) => [error.field, error.kind]));
  assert.deepEqual(fields, { name: 'number', 'draft.subject': 'string', 'draft.format': 'string', 'draft.from.email': 'string', role: 'string' });
  for (const error of reply.json.errors) assert.ok(error.remedy.length > 0 && error.in === 'body');
  assert.ok(!reply.text.includes('private@'));
});

test("a problem is in the product's own words: field, value where it cannot be personal, and remedy", async () => {
  const get = async (query: string) => {
    const reply = expect(await web.ask(`/api/v1/people?${query}`, { headers: mine }), 400, 'fields_invalid');
    assert.doesNotMatch(reply.text, /Invalid input|Too big|Too small|expected/);
    const [{ field, problem, remedy }] = reply.json.errors;
    return { field, problem, remedy };
  };
  assert.deepEqual(await get('limit=1e9'), { field: 'limit', problem: 'must be a whole number; found "1e9"', remedy: 'Send a whole number.' });
  assert.deepEqual(await get('limit=1000'), { field: 'limit', problem: 'must be at most 200; found 1000', remedy: 'Send at most 200.' });
  assert.deepEqual(await get('limit=0'), { field: 'limit', problem: 'must be at least 1; found 0', remedy: 'Send at least 1.' });
  const wrong = expect(await post('/api/v1/templates', { name: 'n'.repeat(201), draft: { ...draft, format: 'pdf', body: undefined, from: { name: 'A', email: 'private@' } } }), 400, 'fields_invalid');
  const told = Object.fromEntries(wrong.json.errors.map(({ field, problem, remedy }: Record<string, string>) => [field, `${problem}. ${remedy}`]));
  assert.deepEqual(told, {
    name: 'must be text of at most 200 characters. Send text of at most 200 characters.',
    'draft.format': 'must be one of "mjml", "html". Send one of "mjml", "html".',
    'draft.body': 'is missing. Give this field: text.',
    'draft.from.email': 'must be an e-mail address such as ana@example.com. Send an e-mail address such as ana@example.com.',
  });
});

for (const [where, body] of [
  ['at the top', { name: 'x', draft, tenantId: 'other' }],
  ['below', { name: 'x', draft: { ...draft, workspace_id: 'other' } }],
] as const) {
  test(`a field that is not known is refused by name, ${where}`, async () => {
    const reply = expect(await post('/api/v1/templates', body), 400, 'fields_invalid');
    assert.equal(reply.json.errors.length, 1);
    assert.match(reply.json.errors[0].field, /tenantId|draft\.workspace_id/);
  });
}

test('__proto__ is a field like any other: not known', async () => {
  const reply = expect(await post('/api/v1/people', '{"attributes":{"__proto__":{"admin":true}}}', { 'Content-Type': 'application/json' }), 400, 'fields_invalid');
  assert.equal(reply.json.errors[0].field, 'attributes.__proto__');
  assert.equal(({} as { admin?: boolean }).admin, undefined);
});

const deep = `{"attributes":{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}}`;
for (const [what, body, headers, status, reason, kind] of [
  ['no JSON', '{"name":', {}, 400, 'json_invalid', undefined],
  ['nothing', '', {}, 400, 'json_invalid', undefined],
  ['an array', '[]', {}, 400, 'fields_invalid', 'array'],
  ['invalid UTF-8', Buffer.from('{"attributes":{"a":"\xff"}}', 'latin1'), {}, 400, 'fields_invalid', 'bytes'],
  ['half of a surrogate pair', '{"attributes":{"a":"\\ud800"}}', {}, 400, 'fields_invalid', 'string'],
  ['half of a surrogate pair as a name', '{"attributes":{"\\udc00":1}}', {}, 400, 'fields_invalid', 'string'],
  ['NUL', '{"attributes":{"a":"a\\u0000b"}}', {}, 400, 'fields_invalid', 'string'],
  ['100,000 brackets', deep, {}, 400, 'fields_invalid', 'array'],
  ['a form', 'name=x', { 'Content-Type': 'application/x-www-form-urlencoded' }, 415, 'content_type_not_supported', undefined],
  ['text that only begins like JSON', '{}', { 'Content-Type': 'application/jsonx' }, 415, 'content_type_not_supported', undefined],
  ['gzip', gzipSync('{}'), { 'Content-Encoding': 'gzip' }, 415, 'content_type_not_supported', undefined],
  ['too much', `{"name":"${'x'.repeat(200_000)}"}`, {}, 413, 'body_too_large', undefined],
] as const) {
  test(`a body of ${what} answers ${reason}`, async () => {
    const reply = expect(await web.ask('/api/v1/people', { method: 'POST', headers: { ...mine, 'Content-Type': 'application/json', ...headers }, body }), status, reason);
    assert.equal(reply.json.errors?.[0].kind, kind);
  });
}

test('a body without a length is cut off as soon as it is too large, without its end', async () => {
  const sent = request({ host: '127.0.0.1', port: web.port, path: '/api/v1/people', method: 'POST', headers: { ...mine, 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' }, agent: false });
  sent.on('error', () => {});
  sent.write('x'.repeat(140_000));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  assert.deepEqual([response.statusCode, response.headers.connection], [413, 'close']);
  sent.destroy();
});

test('ids of another workspace do not exist: to read, to change, or to hang something on', async () => {
  const templateId = await makeTemplate();
  const { personId } = (await post('/api/v1/people', { email: 'a@example.com' })).json;
  const automation = await post('/api/v1/automations', { name: 'A', rule: { event: 'E', when: null, waitMs: 0, still: null, send: { templateId, channel: 'email' }, reentry: { kind: 'once' } } });
  const { automationId } = automation.json;
  const { keyId } = (await web.ask('/api/v1/api-keys?limit=1', { headers: mine })).json.items[0];
  const tries: [string, string, unknown?][] = [
    ['GET', `/templates/${templateId}`],
    ['PATCH', `/templates/${templateId}`, { name: 'stolen' }],
    ['POST', `/templates/${templateId}/publish`],
    ['GET', `/templates/${templateId}/versions`],
    ['GET', `/templates/${templateId}/versions/1`],
    ['POST', `/templates/${templateId}/preview`, { personId }],
    ['POST', `/templates/${templateId}/test-sends`, { personId, to: 'x@example.com' }],
    ['GET', `/people/${personId}`],
    ['PATCH', `/people/${personId}`, { attributes: { stolen: true } }],
    ['PUT', `/people/${personId}/consent`, { email: 'granted' }],
    ['GET', `/people/${personId}/events`],
    ['DELETE', `/people/${personId}`],
    ['GET', `/automations/${automationId}`],
    ['PUT', `/automations/${automationId}`, { name: 'stolen', rule: automation.json.rule }],
    ['POST', `/automations/${automationId}/disable`],
    ['GET', `/automations/${automationId}/versions`],
    ['GET', `/automations/${automationId}/counts`],
    ['GET', `/api-keys/${keyId}`],
    ['DELETE', `/api-keys/${keyId}`],
  ];
  for (const [method, path, body] of tries) {
    const reply = await web.ask(`/api/v1${path}`, { method, headers: foreign, ...(body === undefined ? {} : { body }) });
    assert.equal(reply.status, 404, `${method} ${path}: ${reply.text}`);
  }
  const ownTemplate = (await web.ask('/api/v1/templates', { method: 'POST', headers: foreign, body: { name: 'own', draft } })).json.templateId;
  const other = await web.ask(`/api/v1/templates/${ownTemplate}/preview`, { method: 'POST', headers: foreign, body: { personId } });
  expect(other, 404, 'person_not_found');
  for (const list of ['people', 'automations', 'api-keys', 'deliveries', 'outbox']) {
    const { items } = (await web.ask(`/api/v1/${list}`, { headers: foreign })).json;
    assert.ok(!JSON.stringify(items).includes(personId) && !JSON.stringify(items).includes(automationId), list);
  }
  assert.equal((await web.ask(`/api/v1/templates/${templateId}`, { headers: mine })).json.name, 'T');
  assert.equal((await web.ask(`/api/v1/people/${personId}`, { headers: mine })).status, 200);
});

test('lists go on where they ended, each item once, also while new ones come', async () => {
  const names = Array.from({ length: 7 }, (_, i) => `list ${i}`);
  for (const name of names) await makeTemplate(name);
  for (const order of ['newest', 'name']) {
    const seen: string[] = [];
    let after: string | null = null;
    do {
      const { json }: Reply = await web.ask(`/api/v1/templates?limit=3&order=${order}${after === null ? '' : `&after=${encodeURIComponent(after)}`}`, { headers: mine });
      assert.ok(json.items.length <= 3);
      seen.push(...json.items.map((item: { name: string }) => item.name));
      after = json.next as string | null;
      await makeTemplate('AAA');
    } while (after !== null);
    const listed = seen.filter((name) => name.startsWith('list'));
    assert.deepEqual(listed, order === 'name' ? names : [...names].reverse());
  }
});

test('a cursor that is malformed, from another list, order, filter or workspace is refused', async () => {
  for (let i = 0; i < 2; i++) {
    await makeTemplate();
    await web.ask('/api/v1/templates', { method: 'POST', headers: foreign, body: { name: 'F', draft } });
  }
  const { next } = (await web.ask('/api/v1/templates?limit=1', { headers: mine })).json;
  assert.equal((await web.ask(`/api/v1/templates?limit=2&after=${next}`, { headers: mine })).status, 200);
  const [text, signature] = (next as string).split('.');
  const forged = Buffer.from(JSON.stringify({ name: 'x', id: 'zzzz' })).toString('base64url');
  const tries: [string, Record<string, string>][] = [
    [`/templates?after=${next}`, foreign],
    [`/templates?order=name&after=${next}`, mine],
    [`/automations?after=${next}`, mine],
    [`/audit?after=${next}`, mine],
    [`/templates?after=${forged}.${signature}`, mine],
    [`/templates?after=${text}.`, mine],
    [`/templates?after=${text}`, mine],
    ['/templates?after=', mine],
    ['/templates?after=..%2F', mine],
    ['/templates?after=%00', mine],
    [`/templates?after=${'A'.repeat(5_000)}`, mine],
  ];
  for (const [path, headers] of tries) expect(await web.ask(`/api/v1${path}`, { headers }), 400, 'fields_invalid');
});

for (const query of ['order=name;DROP TABLE templates', 'order=created_at', 'order=newest&order=name', 'limit=0', 'limit=201', 'limit=1e2', 'limit=', 'limit=-1', 'limit=99999999999999999999', 'sort=name', 'workspace=other']) {
  test(`the query ${query} is refused by field`, async () => {
    const reply = expect(await web.ask(`/api/v1/templates?${encodeURI(query)}`, { headers: mine }), 400, 'fields_invalid');
    assert.equal(reply.json.errors[0].field, query.split('=')[0]);
  });
}

test('what is not there and what takes another method are told apart', async () => {
  expect(await web.ask('/api/v1/nothing', { headers: mine }), 404, 'path_not_found');
  expect(await web.ask('/api/v1/Templates', { headers: mine }), 404, 'path_not_found');
  expect(await web.ask('/api/v1/templates/', { headers: mine }), 404, 'path_not_found');
  const reply = expect(await web.ask('/api/v1/templates', { method: 'DELETE', headers: mine }), 405, 'method_not_allowed');
  assert.equal(reply.headers.allow, 'GET, HEAD, POST');
  const options = await web.ask('/api/v1/templates', { method: 'OPTIONS' });
  assert.deepEqual([options.status, options.headers.allow, options.headers['access-control-allow-origin']], [204, 'GET, HEAD, POST', undefined]);
  assert.equal((await web.ask('/%E0%A4%A')).status, 404);
  assert.equal((await web.ask('/api/v1/templates/%E0%A4%A', { headers: mine })).status, 404);
  const nul = expect(await web.ask('/api/v1/templates/%00', { headers: mine }), 400, 'fields_invalid');
  assert.equal(nul.json.errors[0].in, 'path');
});

test('of two changes made on the same version one is refused', async () => {
  const templateId = await makeTemplate();
  const { headers } = await web.ask(`/api/v1/templates/${templateId}`, { headers: mine });
  const change = (name: string, ifMatch: string) => web.ask(`/api/v1/templates/${templateId}`, { method: 'PATCH', headers: { ...mine, 'If-Match': ifMatch }, body: { name } });
  const replies = await Promise.all([change('one', headers.etag!), change('two', headers.etag!)]);
  assert.deepEqual(replies.map((reply) => reply.status).sort(), [200, 412]);
  expect(replies.find((reply) => reply.status === 412)!, 412, 'version_changed');
  for (const wrong of ['"0"', 'W/"2"', '"2", "3"', '2', '"abc"', '""']) assert.equal((await change('three', wrong)).status, 412, wrong);
  assert.equal((await change('star', '*')).status, 200);
  const winner = replies.find((reply) => reply.status === 200)!;
  assert.equal((await change('late', winner.headers.etag!)).status, 412);
});

test('an automation too is changed only on the version that was read', async () => {
  const rule = { event: 'E', when: null, waitMs: 0, still: null, send: { templateId: await makeTemplate(), channel: 'email' }, reentry: { kind: 'once' } };
  const made = await post('/api/v1/automations', { name: 'A', rule });
  assert.equal(made.status, 201, made.text);
  const save = (waitMs: number, ifMatch: string) => web.ask(`/api/v1/automations/${made.json.automationId}`, { method: 'PUT', headers: { ...mine, 'If-Match': ifMatch }, body: { name: 'A', rule: { ...rule, waitMs } } });
  const replies = await Promise.all([save(1_000, made.headers.etag!), save(2_000, made.headers.etag!)]);
  assert.deepEqual(replies.map((reply) => reply.status).sort(), [200, 412]);
  expect(await post('/api/v1/automations', { name: 'A', rule: { ...rule, still: { field: 'person.a', op: 'eq', value: 1, evil: 1 } } }), 400, 'fields_invalid');
});

test('the Host header is never believed', async () => {
  const raw = await new Promise<string>((resolve, reject) => {
    const socket = connect(web.port, '127.0.0.1', () => socket.write(`GET /api/openapi.json HTTP/1.1\r\nHost: a@evil.example\r\nX-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n`));
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('end', () => resolve(text)).on('error', reject);
  });
  assert.match(raw, /^HTTP\/1\.1 200/);
  assert.ok(!raw.includes('evil'));
  const made = await post('/api/v1/templates', { name: 'x', draft }, { Host: 'evil.example' });
  assert.match(made.headers.location!, /^\/api\/v1\/templates\/[\w-]+$/);
});

test('every answer carries the headers that keep browsers on the safe side', async () => {
  for (const path of ['/', '/login', '/docs', '/nothing', '/api/v1/people', '/api/openapi.json', '/u/x']) {
    const { headers } = await web.ask(path);
    assert.match(String(headers['content-security-policy']), /default-src 'none'.*frame-ancestors 'none'/, path);
    assert.equal(headers['x-content-type-options'], 'nosniff', path);
    assert.equal(headers['referrer-policy'], 'no-referrer', path);
    assert.equal(headers['strict-transport-security'], undefined, path);
    assert.equal(headers['x-powered-by'], undefined, path);
  }
});

test('the audit log tells who did what to what, with the outcome, and holds no secret', async () => {
  const templateId = await makeTemplate('audited');
  await web.ask(`/api/v1/templates/${templateId}`, { method: 'PATCH', headers: { ...mine, 'If-Match': '"9"' }, body: { name: 'x' } });
  const secret = await web.key(cookie, ['read']);
  const { items } = (await web.ask('/api/v1/audit?limit=3', { headers: mine })).json;
  assert.deepEqual(items.map((entry: { action: string; outcome: string; actor: { kind: string } }) => [entry.action, entry.outcome, entry.actor.kind]), [
    ['createApiKey', 'done', 'user'],
    ['updateTemplate', 'refused:version_changed', 'api_key'],
    ['createTemplate', 'done', 'api_key'],
  ]);
  assert.deepEqual([items[1].targetId, items[2].targetId, items[0].address], [templateId, templateId, '127.0.0.1']);
  assert.ok(!JSON.stringify(items).includes(secret));
  const only = (await web.ask(`/api/v1/audit?targetId=${templateId}`, { headers: mine })).json.items;
  assert.equal(only.length, 2);
  assert.deepEqual((await web.ask(`/api/v1/audit?targetId=${templateId}`, { headers: foreign })).json.items, []);
});
