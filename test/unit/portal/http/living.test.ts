import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createServer, get, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { readBody } from '../../../../modules/portal/http/body.ts';
import { statusOf } from '../../../../modules/portal/http/problem.ts';
import type { Fault } from '../../../../src/kernel/fault.ts';
import type { Log } from '../../../../src/kernel/telemetry.ts';
import { bearer, fromOurPage, type PortalWeb, startPortalWeb } from '../../../support/portal-web.ts';

const lines: { level: string; fields: Record<string, unknown>; message: string }[] = [];
const arrivals = new EventEmitter();
const note = (level: string) => (fields: object, message: string) => {
  lines.push({ level, fields: fields as Record<string, unknown>, message });
  arrivals.emit(message, fields);
};
/** The next line with that message. */
const logged = async (message: string) => ((await once(arrivals, message)) as [Record<string, unknown>])[0];
const log: Log = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error'), child: () => log };

let web: PortalWeb;
let cookie: string;
let mine: Record<string, string>;
const draft = { subject: 'Hi', format: 'html', body: '<p>Hi</p>', text: null, from: null };

before(async () => {
  web = await startPortalWeb({ log });
  ({ cookie } = await web.setUp());
  mine = bearer(await web.key(cookie));
});
after(() => web.close());
beforeEach(() => {
  lines.length = 0;
  web.notification.beforeCompiling = async () => {};
});

const template = async () => (await web.ask('/api/v1/templates', { method: 'POST', headers: mine, body: { name: 'T', draft } })).json.templateId as string;

test('the log tells which route and who, but no id in the path, no address, no query', async () => {
  const { personId } = (await web.ask('/api/v1/people', { method: 'POST', headers: mine, body: { email: 'private@example.com' } })).json;
  await web.ask(`/api/v1/people?email=private`, { headers: mine });
  await web.ask(`/api/v1/people/${personId}`, { headers: { ...mine, traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } });
  await web.ask('/api/v1/suppressions/email/private@example.com', { method: 'PUT', headers: mine, body: { reason: 'asked' } });
  await web.ask('/u/secret-token');
  const requests = lines.filter((line) => line.message === 'request').map((line) => line.fields);
  assert.deepEqual(requests.map((fields) => fields.route), ['/api/v1/people', '/api/v1/people', '/api/v1/people/:personId', '/api/v1/suppressions/:channel/:address', '/u/:token']);
  assert.equal(requests[2]!.traceId, '0af7651916cd43dd8448eb211c80319c');
  assert.match(String(requests[0]!.actor), /^api_key:/);
  const all = JSON.stringify(lines);
  for (const secret of ['private', personId, 'secret-token', mine.Authorization!.slice(12), '127.0.0.1']) assert.ok(!all.includes(secret as string), String(secret));
});

test('the log tells who looked at a page, in which workspace', async () => {
  for (const path of ['/', '/keys', '/outbox', '/docs', '/nothing']) await web.ask(path, { headers: { cookie } });
  await web.ask('/api/v1/api-keys', { headers: { cookie } });
  const requests = lines.filter((line) => line.message === 'request').map((line) => line.fields);
  assert.equal(requests.length, 6);
  for (const { route, workspace, actor } of requests) {
    assert.match(String(actor), /^user:/, String(route));
    assert.equal(typeof workspace, 'string', String(route));
  }
});

test('what goes wrong inside is logged under the call id and not shown', async () => {
  web.notification.beforeCompiling = () => Promise.reject(new Error('the password is swordfish'));
  const reply = await web.ask(`/api/v1/templates/${await template()}/publish`, { method: 'POST', headers: mine });
  assert.deepEqual([reply.status, reply.json.reason], [500, 'internal']);
  assert.ok(!reply.text.includes('swordfish'));
  const { items } = (await web.ask('/api/v1/audit?limit=1', { headers: mine })).json;
  assert.deepEqual([items[0].action, items[0].outcome, items[0].callId], ['publishTemplate', 'failed:internal', reply.json.callId]);
});

test('a client that leaves cancels what it asked for', async () => {
  const templateId = await template();
  const socket = connect(web.port, '127.0.0.1');
  let release = () => {};
  const compiling = new Promise<void>((resolve) => {
    web.notification.beforeCompiling = () => new Promise((done) => ((release = done), resolve()));
  });
  socket.write(`POST /api/v1/templates/${templateId}/publish HTTP/1.1\r\nHost: x\r\nAuthorization: ${mine.Authorization}\r\nContent-Length: 0\r\n\r\n`);
  await compiling;
  socket.destroy();
  const line = await logged('request');
  release();
  assert.equal(line.status, 499);
  assert.equal((await web.ask(`/api/v1/templates/${templateId}`, { headers: mine })).json.publishedVersion, null);
});

test('the stream tells what changes in one\'s own workspace; it needs the scope to read', async () => {
  assert.equal((await web.ask('/api/v1/stream')).status, 401);
  assert.equal((await web.ask('/api/v1/stream', { headers: bearer(await web.key(cookie, ['write'])) })).status, 403);
  const { json } = await web.ask('/api/v1/workspaces', { method: 'POST', headers: fromOurPage(cookie), body: { name: 'Second' } });
  assert.equal((await web.ask('/api/v1/stream?workspace=nowhere', { headers: { cookie } })).status, 404);
  const request = get({ host: '127.0.0.1', port: web.port, path: `/api/v1/stream?workspace=${json.workspaceId}`, headers: { cookie }, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  assert.deepEqual([response.statusCode, response.headers['content-type'], response.headers['x-content-type-options']], [200, 'text/event-stream; charset=utf-8', 'nosniff']);
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await web.ask('/api/v1/people', { method: 'POST', headers: mine, body: {} });
  await web.ask('/api/v1/people', { method: 'POST', headers: { ...fromOurPage(cookie), 'Multilith-Workspace': json.workspaceId }, body: {} });
  while (!text.includes('event: changes')) await once(response, 'data');
  assert.match(text, /"people":1,/);
  response.destroy();
});

test('a body that does not come is not waited for for ever', async () => {
  const server = createServer((request, response) => {
    const waiting = new AbortController();
    readBody(request, 100, waiting.signal).then(
      () => assert.fail(),
      (thrown: unknown) => response.writeHead(statusOf(thrown as Fault)).end((thrown as Fault).reason),
    );
    waiting.abort();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"half":');
  const [answer] = (await once(socket, 'data')) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 408[^]*body_timeout/);
  socket.destroy();
  server.close();
});
