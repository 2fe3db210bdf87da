import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { http } from '../../../adapters/transport/http/transport.ts';
import { MOST_VALUE_BYTES } from '../../../src/ports/transport.ts';
import { within } from '../../support/buses.ts';
import { echo, Held, httpHost, identityOf, type HttpHost, SECRET } from '../../support/http-host.ts';

/** curl is a client that we did not write. */
async function curl(...args: string[]): Promise<{ status: number; type: string; body: string; headers: Map<string, string> }> {
  const child = spawn('curl', ['-sS', '-i', '--max-time', '20', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  // No UTF-8, for whoever reads it.
  child.stdin.end(Buffer.from([0x22, 0xff, 0x22]));
  let out = '';
  let error = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (error += text));
  const [code] = await once(child, 'close');
  assert.equal(code, 0, error);
  const [head, body] = out.replace(/^HTTP\/1.1 100 Continue\r\n\r\n/, '').split(/\r\n\r\n([^]*)/);
  const [first, ...lines] = head!.split('\r\n');
  const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]));
  return { status: Number(first!.split(' ')[1]), type: headers.get('content-type') ?? '', body: body!, headers };
}

const AUTHORIZATION = ['-H', `Authorization: Bearer ${SECRET}`];
const JSON_TYPE = ['-H', 'Content-Type: application/json'];

/** A connection by hand, with all that it says. */
async function raw(t: { after(fn: () => void): void }, port: number): Promise<{ socket: Socket; said: () => string; closed: Promise<unknown> }> {
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  let said = '';
  socket.setEncoding('latin1').on('data', (text: string) => (said += text));
  const closed = new Promise((resolve) => socket.on('close', resolve).on('error', () => {}));
  await once(socket, 'connect');
  return { socket, said: () => said, closed };
}

function post(path: string, body: string, headers = ''): string {
  return `POST ${path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer ${SECRET}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`;
}

test('curl calls with nothing but the secret, and everything else has a default', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const answer = curl(...AUTHORIZATION, ...JSON_TYPE, '-d', '{"text":"hello"}', `${host.url}/contract/echo/say`);
  await held.count(1);
  const { call } = held.calls[0]!;
  assert.deepEqual([call.contract, call.method, call.request, call.workspace, call.actor, call.idempotencyKey], ['echo', 'say', { text: 'hello' }, null, { kind: 'system', id: 'http' }, undefined]);
  assert.match(call.trace.traceId, /^[0-9a-f]{32}$/);
  assert.ok(call.id.length > 0);
  const left = call.deadline - Date.now();
  assert.ok(left > 5_000 && left <= 10_000, `${left} ms left`);
  held.calls[0]!.answer({ value: { said: 'ü' } });
  const { status, type, body } = await answer;
  assert.deepEqual([status, type, body], [200, 'application/json', '{"said":"ü"}']);
});

test("curl's headers say whose call it is, how long it has and what it belongs to", async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const headers = { 'multilith-workspace': 'w%C3%BC', 'multilith-actor': 'user:a%3Ab', 'multilith-call-id': 'c1', 'multilith-timeout-ms': '60000', 'idempotency-key': 'k%201', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
  const answer = curl(...AUTHORIZATION, ...JSON_TYPE, ...Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]), '-d', 'null', `${host.url}/contract/echo/say`);
  await held.count(1);
  const { call, answer: reply } = held.calls[0]!;
  assert.deepEqual([call.workspace, call.actor, call.id, call.idempotencyKey, call.request], ['wü', { kind: 'user', id: 'a:b' }, 'c1', 'k 1', null]);
  assert.deepEqual(call.trace, { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' });
  assert.ok(call.deadline - Date.now() > 50_000);
  reply({ value: null });
  assert.equal((await answer).body, 'null');
});

test('curl lists what the host serves', async (t) => {
  const identity = identityOf();
  const host = await httpHost(t, echo, identity);
  const { status, body } = await curl(...AUTHORIZATION, `${host.url}/contract`);
  assert.equal(status, 200);
  assert.deepEqual(JSON.parse(body), { introduction: identity.introduction, offers: identity.offers });
});

test('curl sends a batch and reads a line for each call', async (t) => {
  const host = await httpHost(t, echo);
  const batch = [{ contract: 'echo', method: 'say', request: 1 }, { method: 'say' }, { contract: 'echo', method: 'say', actor: 'nobody' }, 7, { contract: 'echo', method: 'say' }];
  const { status, type, body } = await curl(...AUTHORIZATION, ...JSON_TYPE, '-d', JSON.stringify(batch), `${host.url}/contract`);
  assert.deepEqual([status, type], [200, 'application/x-ndjson']);
  const lines = body.trim().split('\n').map((line) => JSON.parse(line)).sort((a, b) => a.n - b.n);
  assert.deepEqual(lines.map(({ n, value, fault }) => [n, value, fault?.code, fault?.reason]), [[0, 1, undefined, undefined], [1, undefined, 'invalid', 'bad_batch'], [2, undefined, 'invalid', 'bad_call_field'], [3, undefined, 'invalid', 'bad_batch'], [4, null, undefined, undefined]]);
});

test('each refusal is a problem that names the remedy, and none runs anything', async (t) => {
  const host = await httpHost(t, () => assert.fail('ran'));
  const call = `${host.url}/contract/echo/say`;
  const cases: [name: string, args: string[], status: number, reason: string][] = [
    ['no secret', [...JSON_TYPE, '-d', '{}', call], 401, 'secret_required'],
    ['a wrong secret', ['-H', 'Authorization: Bearer a secret that both hosts knoW', ...JSON_TYPE, '-d', '{}', call], 401, 'secret_required'],
    ['the beginning of the secret', ['-H', 'Authorization: Bearer a secret', ...JSON_TYPE, '-d', '{}', call], 401, 'secret_required'],
    ['the secret in another scheme', ['-H', `Authorization: Digest ${SECRET}`, ...JSON_TYPE, '-d', '{}', call], 401, 'secret_required'],
    ['a page in a browser', [...AUTHORIZATION, ...JSON_TYPE, '-H', `Origin: ${host.url}`, '-d', '{}', call], 403, 'from_a_browser'],
    ['no such path', [...AUTHORIZATION, `${host.url}/`], 404, 'no_such_address'],
    ['too long a path', [...AUTHORIZATION, ...JSON_TYPE, '-d', '{}', `${call}/more`], 404, 'no_such_address'],
    ['a broken path', [...AUTHORIZATION, ...JSON_TYPE, '-d', '{}', `${host.url}/contract/%zz/say`], 404, 'no_such_address'],
    ['GET for a call', [...AUTHORIZATION, call], 405, 'method_not_allowed'],
    ['PUT for the list', [...AUTHORIZATION, '-X', 'PUT', `${host.url}/contract`], 405, 'method_not_allowed'],
    ["a form's type", [...AUTHORIZATION, '-d', '{}', call], 415, 'content_type_not_supported'],
    ['no type', [...AUTHORIZATION, '-H', 'Content-Type:', '-d', '{}', call], 415, 'content_type_not_supported'],
    ['no JSON', [...AUTHORIZATION, ...JSON_TYPE, '-d', '{"a":', call], 400, 'request_not_json'],
    ['nothing', [...AUTHORIZATION, ...JSON_TYPE, '-X', 'POST', call], 400, 'request_not_json'],
    ['no UTF-8', [...AUTHORIZATION, ...JSON_TYPE, '--data-binary', '@-', call], 400, 'request_not_json'],
    ['too deep', [...AUTHORIZATION, ...JSON_TYPE, '-d', '['.repeat(1_001) + ']'.repeat(1_001), call], 400, 'request_not_json'],
    ['an actor of no kind', [...AUTHORIZATION, ...JSON_TYPE, '-H', 'multilith-actor: boss:1', '-d', '{}', call], 400, 'bad_call_field'],
    ['a time that is none', [...AUTHORIZATION, ...JSON_TYPE, '-H', 'multilith-timeout-ms: -1', '-d', '{}', call], 400, 'bad_call_field'],
    ['a header that is not encoded', [...AUTHORIZATION, ...JSON_TYPE, '-H', 'multilith-workspace: 100%', '-d', '{}', call], 400, 'bad_call_field'],
    ['an empty workspace', [...AUTHORIZATION, ...JSON_TYPE, '-H', 'multilith-workspace;', '-d', '{}', call], 400, 'bad_call_field'],
    ['an empty key', [...AUTHORIZATION, ...JSON_TYPE, '-H', 'idempotency-key;', '-d', '{}', call], 400, 'bad_call_field'],
    ['headers without end', [...AUTHORIZATION, ...JSON_TYPE, '-H', `idempotency-key: ${'k'.repeat(20_000)}`, '-d', '{}', call], 431, 'headers_too_large'],
    ['an empty batch', [...AUTHORIZATION, ...JSON_TYPE, '-d', '[]', `${host.url}/contract`], 400, 'bad_batch'],
    ['a batch of too many', [...AUTHORIZATION, ...JSON_TYPE, '-d', JSON.stringify(Array.from({ length: 257 }, () => ({}))), `${host.url}/contract`], 400, 'bad_batch'],
  ];
  for (const [name, args, status, reason] of cases) {
    const found = await curl(...args);
    assert.deepEqual([found.status, found.type], [status, 'application/problem+json'], name);
    const problem = JSON.parse(found.body);
    assert.deepEqual([problem.reason, problem.status, problem.origin, problem.type, problem.detail], [reason, status, 'unsent', `urn:multilith:problem:${reason}`, problem.message], name);
    assert.equal(found.headers.has('allow'), status === 405, name);
    assert.equal(found.headers.has('www-authenticate'), status === 401, name);
    assert.ok(!found.body.includes(SECRET), name);
  }
});

test('a client that sends too large a body hears so after it has sent it all', async (t) => {
  const host = await httpHost(t, () => assert.fail('ran'));
  const piece = Buffer.alloc(1024 * 1024, '1');
  const pieces = 24;
  for (const chunked of [false, true]) {
    const { socket, said, closed } = await raw(t, host.port);
    socket.pause();
    socket.write(`POST /contract/echo/say HTTP/1.1\r\nhost: h\r\nauthorization: Bearer ${SECRET}\r\ncontent-type: application/json\r\n${chunked ? 'transfer-encoding: chunked' : `content-length: ${pieces * piece.length}`}\r\n\r\n`);
    for (let sent = 0; sent < pieces; sent++) {
      const written = chunked ? Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]) : piece;
      if (!socket.write(written)) await within(10_000, once(socket, 'drain'), () => 'the host reads no more');
    }
    if (chunked) socket.write('0\r\n\r\n');
    socket.resume();
    await within(10_000, closed, said);
    assert.match(said(), /^HTTP\/1.1 413 /);
    assert.match(said(), /request_too_large/);
  }
});

test('a body without end is cut off', async (t) => {
  const host = await httpHost(t, () => assert.fail('ran'));
  const { socket, closed } = await raw(t, host.port);
  socket.write(`POST /contract/echo/say HTTP/1.1\r\nhost: h\r\nauthorization: Bearer ${SECRET}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`);
  const chunk = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(65_536, '1'), Buffer.from('\r\n')]);
  const pour = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on('drain', pour);
  pour();
  await within(10_000, closed, () => `${socket.bytesWritten} bytes were taken`);
});

test('clients that send slowly are cut off, and hold up nobody else', async (t) => {
  const host = await httpHost(t, echo, undefined, 0, { headersTimeoutMs: 300, requestTimeoutMs: 600 });
  const full = post('/contract/echo/say', '"late"');
  for (const begun of ['', full.slice(0, 20), full.slice(0, -3)]) {
    const { socket, said, closed } = await raw(t, host.port);
    socket.write(begun);
    const drip = setInterval(() => socket.write(begun.endsWith('\r\n') ? 'x: y\r\n' : ''), 50);
    assert.equal((await curl(...AUTHORIZATION, ...JSON_TYPE, '-d', '"quick"', `${host.url}/contract/echo/say`)).body, '"quick"');
    await within(5_000, closed, () => `${begun.length} bytes were not cut off`);
    clearInterval(drip);
    assert.match(said(), /^HTTP\/1.1 408 .*request_timeout/s);
  }
  assert.equal(host.server.connections, 0);
});

test('a client that does not read its answer is cut off', async (t) => {
  const host = await httpHost(t, async () => ({ value: 'x'.repeat(MOST_VALUE_BYTES - 1_024) }), undefined, 0, { stalledMs: 300 });
  const { socket } = await raw(t, host.port);
  socket.pause();
  socket.write(post('/contract/echo/say', '1'));
  const [accepted] = host.sockets;
  await within(5_000, once(accepted!, 'close'), () => 'it was not cut off');
});

test('of answers that nobody takes a host holds so much, and makes room again when their callers are gone', async (t) => {
  const host = await httpHost(t, async ({ request }) => ({ value: 'x'.repeat(Number(request)) }), undefined, 0, { mostOwedBytes: 6 * 1024 * 1024 });
  const { socket } = await raw(t, host.port);
  socket.pause();
  socket.write(post('/contract/echo/say', String(MOST_VALUE_BYTES - 1_024)));
  const statuses = async () => {
    const { status, body } = await curl(...AUTHORIZATION, ...JSON_TYPE, '-d', '3000000', `${host.url}/contract/echo/say`);
    const batch = await curl(...AUTHORIZATION, ...JSON_TYPE, '-d', '[{"contract":"echo","method":"say","request":3000000}]', `${host.url}/contract`);
    return [status, status === 200 ? '' : JSON.parse(body).reason, Object.keys(JSON.parse(batch.body)).at(-1)];
  };
  assert.deepEqual(await statuses(), [429, 'answers_not_read', 'fault']);
  const [accepted] = host.sockets;
  const closed = new Promise((resolve) => accepted!.once('close', resolve));
  socket.destroy();
  await closed;
  assert.deepEqual(await statuses(), [200, '', 'value']);
});

test('garbage closes its own connection and no other', async (t) => {
  const host = await httpHost(t, echo);
  const kept = await raw(t, host.port);
  const answers = async (): Promise<void> => {
    const before = kept.said().length;
    kept.socket.write(post('/contract/echo/say', '1'));
    while (!kept.said().slice(before).endsWith('\r\n\r\n1')) await once(kept.socket, 'data');
  };
  await answers();
  for (const garbage of [Buffer.alloc(4096), Buffer.from('GET / HTTP/9.9\r\n\r\n'), Buffer.from('POST /contract HTTP/1.1\r\ncontent-length: -1\r\n\r\n'), Buffer.from('POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n')]) {
    const { socket, said, closed } = await raw(t, host.port);
    socket.write(garbage);
    await within(5_000, closed, () => garbage.toString('latin1', 0, 40));
    assert.match(said(), /^HTTP\/1.1 400 .*"reason":"malformed"/s);
    await answers();
  }
  assert.equal(host.server.connections, 1);
});

test('requests far ahead of their answers are refused', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const { socket, said, closed } = await raw(t, host.port);
  socket.write(post('/contract/echo/say', '1').repeat(20));
  await held.count(16);
  for (const { answer } of held.calls) answer({ value: 'fine' });
  await within(5_000, closed, said);
  assert.deepEqual(said().match(/(?<=HTTP\/1.1 )\d+/g), [...Array(16).fill('200'), '429']);
});

test('a host that has too much under way takes no more, and says that nothing has run', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const calls = `[${Array(256).fill('{"contract":"echo","method":"say"}').join(',')}]`;
  const connections = await Promise.all(Array.from({ length: 5 }, () => raw(t, host.port)));
  for (const { socket } of connections) socket.write(post('/contract', calls).repeat(13));
  await held.count(65 * 256);
  const { socket, said } = await raw(t, host.port);
  socket.write(post('/contract/echo/say', '1'));
  await within(5_000, once(socket, 'data'), said);
  assert.match(said(), /^HTTP\/1\.1 429 .*"reason":"host_full".*"origin":"unsent"/s);
  assert.equal(held.calls.length, 65 * 256);
});

test('calls behind others on a connection are let go when it ends', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const { socket } = await raw(t, host.port);
  socket.write(post('/contract/echo/say', '1').repeat(3));
  await held.count(3);
  const aborted = held.calls.map(({ call: { signal } }) => once(signal, 'abort'));
  socket.destroy();
  await within(5_000, Promise.all(aborted), () => 'a call was not let go');
});

test('a connection is recognised by a method of HTTP, whole or begun', () => {
  for (const beginning of ['G', 'GET', 'GET /con', 'POST /co', 'DELETE /', 'OPTIONS ', 'P']) assert.equal(http.recognises(Buffer.from(beginning)), true, beginning);
  for (const beginning of ['\x16\x03\x01', 'get /con', 'GETT', 'MLRP', '\0', 'X']) assert.equal(http.recognises(Buffer.from(beginning, 'latin1')), false, beginning);
});

test('a connection whose first bytes were read to recognise it is served from its beginning', async (t) => {
  const server = http.serve(identityOf(), { dispatch: echo });
  const listener = createServer((socket) =>
    socket.once('readable', () => {
      const beginning = socket.read() as Buffer;
      assert.ok(http.recognises(beginning.subarray(0, 8)));
      socket.unshift(beginning);
      server.accept(socket);
    }),
  );
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  t.after(async () => {
    await server.stop(0);
    listener.close();
  });
  const { port } = listener.address() as { port: number };
  const { body } = await curl(...AUTHORIZATION, ...JSON_TYPE, '-d', JSON.stringify('x'.repeat(100_000)), `http://127.0.0.1:${port}/contract/echo/say`);
  assert.equal(body.length, 100_002);
});

test('an empty workspace in a batch is refused, and the other calls of the batch are none the worse', async (t) => {
  const host: HttpHost = await httpHost(t, echo);
  const entry = { contract: 'echo', method: 'say', request: { text: 'hello' } };
  const { body } = await curl(...AUTHORIZATION, ...JSON_TYPE, '-d', JSON.stringify([{ ...entry, workspace: '' }, entry]), `${host.url}/contract`);
  const lines = body.trim().split('\n').map((line) => JSON.parse(line)).sort((one, other) => one.n - other.n);
  assert.deepEqual([lines[0].fault.reason, lines[0].fault.details, lines[1].value], ['bad_call_field', { field: 'workspace' }, { text: 'hello' }]);
});
