import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { bearer, type PortalWeb, type Reply, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let key: string;
let cookie: string;
const basic = (secret: string) => ({ Authorization: `Basic ${Buffer.from(`${secret}:`).toString('base64')}` });
let count = 0;
const track = (more: object = {}) => ({ type: 'track', userId: 'u1', event: 'Renewed', messageId: `m${++count}`, ...more });
const post = (body: unknown, headers: Record<string, string> = basic(key), path = '/v1/batch'): Promise<Reply> => web.ask(path, { method: 'POST', headers, body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body) });

/** The events that have come through the queue, once `wanted` of them have. */
async function recorded(wanted: (names: string[]) => boolean): Promise<string[]> {
  for (const until = Date.now() + 10_000; ; ) {
    const { json } = await web.ask('/api/v1/events', { headers: bearer(key) });
    const names = json.items.map((item: { name: string }) => item.name) as string[];
    if (wanted(names)) return names;
    assert.ok(Date.now() < until, `never came: ${names.join()}`);
  }
}

before(async () => {
  web = await startPortalWeb({ settings: { ingest: { requestTimeoutMs: 700 } } });
  ({ cookie } = await web.setUp());
  key = await web.key(cookie);
});
after(() => web.close());

describe('a batch is taken', () => {
  test('with the key in Basic authentication, in the body, or both', async () => {
    for (const [headers, writeKey] of [[basic(key), undefined], [{}, key], [basic(key), key], [basic(key), 'of-an-old-config']] as const) {
      const reply = await post({ batch: [track()], writeKey }, headers);
      assert.deepEqual([reply.status, reply.json], [200, { success: true }]);
    }
  });

  for (const type of ['application/json', 'application/json; charset=utf-8', 'text/plain', 'text/plain;charset=UTF-8', 'application/x-www-form-urlencoded', undefined]) {
    test(`as ${type ?? 'nothing'}`, async () => {
      assert.equal((await post({ batch: [track()] }, { ...basic(key), ...(type && { 'Content-Type': type }) })).status, 200);
    });
  }

  for (const [encoding, pack] of [['gzip', gzipSync], ['GZIP', gzipSync], ['deflate', deflateSync], ['br', brotliCompressSync]] as const) {
    test(`as ${encoding}`, async () => {
      const event = `packed ${encoding}`;
      const reply = await post(pack(JSON.stringify({ batch: [track({ event })] })), { ...basic(key), 'Content-Encoding': encoding });
      assert.equal(reply.status, 200);
      await recorded((names) => names.includes(event));
    });
  }

  test('with a byte order mark, white space around it, and nothing in it', async () => {
    assert.equal((await post(`\ufeff \n${JSON.stringify({ batch: [track()] })} \n`)).status, 200);
    assert.equal((await post({ batch: [] })).status, 200);
  });

  test('on every path that SDKs send to', async () => {
    for (const path of ['/v1/batch', '/v1/import', '/v1/import/', '/v1/b', '/v1/batch?x=1']) assert.equal((await post({ batch: [track({ event: `at ${path}` })] }, basic(key), path)).status, 200, path);
    const calls = { identify: { traits: {} }, track: { event: 'single' }, page: { name: 'single' }, screen: {}, group: { groupId: 'g' }, alias: { previousId: 'p' } };
    for (const [path, body] of Object.entries(calls)) assert.equal((await post({ userId: 'u1', messageId: path, ...body }, basic(key), `/v1/${path}`)).status, 200, path);
    assert.equal((await web.ask('/v1/unknown', { method: 'POST', headers: basic(key), body: {} })).status, 404);
  });

  test('when it is as large as it may be', async () => {
    const batch = Array.from({ length: 16 }, () => track({ properties: { x: 'x'.repeat(31_000) } }));
    const text = JSON.stringify({ batch });
    assert.ok(text.length > 490_000 && text.length < 512_000);
    assert.equal((await post(text)).status, 200);
  });
});

describe('a batch is refused for good', () => {
  const refused: readonly [string, () => Promise<Reply>, number, string][] = [
    ['without a key', () => post({ batch: [track()] }, {}), 401, 'key_invalid'],
    ['with a key that nobody made', () => post({ batch: [track()] }, basic(`ml_${'x'.repeat(43)}`)), 401, 'key_invalid'],
    ['with a key that is no text', () => post({ batch: [track()], writeKey: { a: 1 } }, {}), 401, 'key_invalid'],
    ['that is not JSON', () => post('{"batch":[{]}'), 400, 'json_invalid'],
    ['that holds NaN', () => post('{"batch":[{"n":NaN}]}'), 400, 'json_invalid'],
    ['that is empty', () => post(''), 400, 'json_invalid'],
    ['that has no batch', () => post({ events: [] }), 400, 'batch_missing'],
    ['that is not UTF-8', () => post(Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])), 400, 'body_not_utf8'],
    ['that is UTF-16', () => post(Buffer.from(`\ufeff${JSON.stringify({ batch: [] })}`, 'utf16le')), 400, 'body_not_utf8'],
    ['that is larger than it may be', () => post('x'.repeat(600_000)), 413, 'body_too_large'],
    ['that is a bomb', () => post(gzipSync(Buffer.alloc(50_000_000)), { ...basic(key), 'Content-Encoding': 'gzip' }), 413, 'body_too_large'],
    ['that is cut', () => post(gzipSync(JSON.stringify({ batch: [track()] })).subarray(0, 60), { ...basic(key), 'Content-Encoding': 'gzip' }), 400, 'body_encoding_broken'],
    ['that is not packed as it says', () => post({ batch: [track()] }, { ...basic(key), 'Content-Encoding': 'gzip' }), 400, 'body_encoding_broken'],
    ['that is packed in a way of its own', () => post({ batch: [track()] }, { ...basic(key), 'Content-Encoding': 'zstd' }), 400, 'content_encoding_not_supported'],
    ['that is packed twice', () => post(gzipSync('{}'), { ...basic(key), 'Content-Encoding': 'gzip, gzip' }), 400, 'content_encoding_not_supported'],
    ['that is all bad', () => post({ batch: [{ type: 'x' }, 1] }), 400, 'all_refused'],
    ['that is asked for by GET', () => web.ask('/v1/batch', { headers: basic(key) }), 405, 'method_not_allowed'],
  ];
  for (const [name, ask, status, reason] of refused) {
    test(name, async () => {
      const reply = await ask();
      assert.deepEqual([reply.status, reply.json.reason, reply.json.success], [status, reason, false]);
      assert.match(reply.headers['content-type']!, /problem\+json/);
    });
  }

  test('by a key that may not post events, or not any more', async () => {
    const reader = await web.key(cookie, ['read']);
    assert.deepEqual((await post({ batch: [track()] }, basic(reader))).json.reason, 'scope_missing');
  });

  test('and says which items and why, and keeps the good ones', async () => {
    const deep = `{"type":"track","userId":"u","event":"e","messageId":"deep","properties":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    const text = `{"batch":[${JSON.stringify(track({ event: 'good one' }))},${JSON.stringify(track({ messageId: 'bad', timestamp: '9999-01-01' }))},${deep},{"type":"track","userId":"u","event":"e","__proto__":{"a":1}}]}`;
    const reply = await post(text);
    assert.equal(reply.status, 200);
    assert.equal(reply.json.accepted, 1);
    assert.deepEqual(reply.json.refused.map((r: { index: number; messageId: string; reason: string }) => [r.index, r.messageId, r.reason]), [[1, 'bad', 'timestamp_out_of_range'], [2, 'deep', 'too_deep'], [3, null, 'name_forbidden']]);
    await recorded((names) => names.includes('good one'));
    const { json } = await web.ask('/api/v1/ingest/problems', { headers: bearer(key) });
    const reasons = new Set(json.items.map((item: { reason: string }) => item.reason));
    for (const reason of ['timestamp_out_of_range', 'too_deep', 'name_forbidden', 'json_invalid', 'body_not_utf8']) assert.ok(reasons.has(reason), reason);
  });

  test('with a great many names in it, while others are served', async () => {
    const names = Object.fromEntries(Array.from({ length: 45_000 }, (_, i) => [`k${i}`, 1]));
    const [many, other] = await Promise.all([post({ batch: [track({ properties: names }), track({ event: 'beside it' })] }), post({ batch: [track()] })]);
    assert.deepEqual([many.status, many.json.refused[0].reason, other.status], [200, 'event_too_large', 200]);
  });
});

describe('a connection', () => {
  const open = async (): Promise<{ socket: Socket; answer: () => Promise<string> }> => {
    const socket = connect(web.port, '127.0.0.1');
    await once(socket, 'connect');
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk)).on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    return { socket, answer: () => closed.then(() => text) };
  };
  const head = (headers: string) => `POST /v1/batch HTTP/1.1\r\nHost: a\r\nAuthorization: ${basic(key).Authorization}\r\n${headers}\r\n\r\n`;

  test('that sends its body too slowly is told so and closed', async () => {
    const { socket, answer } = await open();
    const began = Date.now();
    socket.write(`${head('Content-Length: 1000')}{"batch":[`);
    const text = await answer();
    assert.match(text, /^HTTP\/1\.1 408 /);
    assert.match(text, /body_timeout/);
    assert.ok(Date.now() - began < 5_000);
  });

  test('with both Content-Length and Transfer-Encoding is refused by the parser', async () => {
    const { socket, answer } = await open();
    socket.write(`${head('Content-Length: 5\r\nTransfer-Encoding: chunked')}0\r\n\r\nGET /v1/batch HTTP/1.1\r\n\r\n`);
    const text = await answer();
    assert.match(text, /^HTTP\/1\.1 400 /);
    assert.equal(text.split('HTTP/1.1').length, 2, 'one answer');
  });

  test('whose chunks never end is cut off at the limit', async () => {
    const { socket, answer } = await open();
    socket.write(head('Transfer-Encoding: chunked'));
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`;
    const pump = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('drain', pump);
    pump();
    assert.match(await answer(), /^HTTP\/1\.1 413 /);
  });

  test('that leaves in mid-body leaves nothing behind', async () => {
    const { socket, answer } = await open();
    socket.write(`${head('Content-Length: 400000')}${'x'.repeat(200_000)}`);
    socket.destroySoon();
    await answer();
    assert.equal((await post({ batch: [track()] })).status, 200);
  });
});

test('the write key is nowhere on the disk', async () => {
  await post({ batch: [track({ event: 'with key', writeKey: key })], writeKey: key }, {});
  await recorded((names) => names.includes('with key'));
  const files = readdirSync(web.composition.dataDir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.ok(files.length > 0);
  for (const { parentPath, name } of files) assert.ok(!readFileSync(join(parentPath, name)).includes(key), name);
});
