import assert from 'node:assert/strict';
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext as Test, test } from 'node:test';
import { http } from '../../../adapters/transport/http/transport.ts';
import type { PeerAddress, TlsMaterial } from '../../../src/ports/transport.ts';
import { ask, callOf, echo, faultOf, Held, httpHost, identityOf, linkState, openLink, startedLink } from '../../support/http-host.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';

async function hostProcess(t: Test): Promise<{ address: PeerAddress; signal(name: NodeJS.Signals): void }> {
  const child = fork(join(import.meta.dirname, '../../support/http-child.js'));
  t.after(async () => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  });
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  return { address: { at: { host: '127.0.0.1', port } }, signal: (name) => void child.kill(name) };
}

async function proxyFor(t: Test, port: number): Promise<{ proxy: TcpProxy; address: PeerAddress }> {
  const proxy = await TcpProxy.start(port);
  t.after(() => proxy.stop());
  return { proxy, address: { at: { host: '127.0.0.1', port: proxy.port } } };
}

/** An HTTP proxy that passes the introduction on and answers calls by itself. */
async function gateway(t: Test, port: () => number, answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<PeerAddress> {
  const server = createServer((incoming, response) => {
    if (incoming.method === 'POST') return answer(incoming, response);
    request({ port: port(), host: '127.0.0.1', path: incoming.url, headers: incoming.headers }, (found) => {
      response.writeHead(found.statusCode!, found.headers);
      found.pipe(response);
    })
      .on('error', () => response.destroy())
      .end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { at: { host: '127.0.0.1', port: (server.address() as AddressInfo).port } };
}

test('a peer that freezes is noticed within seconds, and found again when it goes on', async (t) => {
  const peer = await hostProcess(t);
  const link = await openLink(t, peer.address);
  assert.equal(await ask(link, callOf(1)), 1);
  const single = faultOf(ask(link, callOf('held')));
  await new Promise(setImmediate);
  const batch = [1, 2].map(() => faultOf(ask(link, callOf('held'))));
  peer.signal('SIGSTOP');
  const began = performance.now();
  for (const fault of await Promise.all([single, ...batch])) assert.deepEqual([fault.code, fault.origin], ['unavailable', 'lost']);
  const tookMs = performance.now() - began;
  assert.ok(tookMs < 8_000, `${tookMs} ms`);
  assert.equal(link.state, 'connecting');
  assert.match(link.problem!, /fallen silent/);
  assert.equal(link.pending, 0);
  const later = await faultOf(ask(link, callOf(1)));
  assert.deepEqual([later.reason, later.origin], ['not_connected', 'unsent']);
  peer.signal('SIGCONT');
  await linkState(link, 'open');
  assert.equal(await ask(link, callOf(2)), 2);
});

test('a peer that is only slow is not given up', async (t) => {
  const peer = await hostProcess(t);
  const link = await openLink(t, peer.address);
  const changes: string[] = [];
  link.onChange = () => changes.push(link.state);
  for (let round = 0; round < 3; round++) {
    peer.signal('SIGSTOP');
    const answer = ask(link, callOf(round));
    await new Promise((resolve) => setTimeout(resolve, 800));
    peer.signal('SIGCONT');
    assert.equal(await answer, round);
  }
  assert.deepEqual(changes, []);
});

test('an answer that is cut off on its way is lost', async (t) => {
  const host = await httpHost(t, async ({ request: value }) => ({ value: 'x'.repeat(Number(value)) }));
  const { proxy, address } = await proxyFor(t, host.port);
  const link = await openLink(t, address);
  for (const calls of [1, 3]) {
    await linkState(link, 'open');
    proxy.cutAfter(50_000);
    const answers = Array.from({ length: calls }, () => faultOf(ask(link, callOf(100_000))));
    for (const { code, origin } of await Promise.all(answers)) assert.deepEqual([code, origin], ['unavailable', 'lost']);
  }
  await linkState(link, 'open');
  assert.equal(await ask(link, callOf(3)), 'xxx');
});

test('a line that goes dead under a long call is noticed, though nothing more is sent on it', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const { proxy, address } = await proxyFor(t, host.port);
  const link = await openLink(t, address);
  const answer = faultOf(ask(link, callOf(1)));
  await held.count(1);
  proxy.freeze();
  const began = performance.now();
  assert.equal((await answer).origin, 'lost');
  assert.ok(performance.now() - began < 8_000);
});

test('what somebody in between answers is lost, unless it says that nothing was passed on', async (t) => {
  const host = await httpHost(t, echo);
  let status = 0;
  const answers: ((response: ServerResponse) => void)[] = [
    (response) => response.writeHead(status, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>'),
    (response) => response.writeHead(status, { 'content-type': 'application/problem+json' }).end('{"type":"about:blank","status":503,"code":"unavailable","reason":"x","message":"x","details":{},"origin":"unsent"}'),
    (response) => response.writeHead(status).end(),
  ];
  let answer = answers[0]!;
  const link = await openLink(t, await gateway(t, () => host.port, (incoming, response) => incoming.resume().on('end', () => answer(response))));
  for (answer of answers) {
    for (status of [400, 403, 404, 413, 429, 500, 502, 503, 504]) {
      for (const calls of [1, 2]) {
        const faults = await Promise.all(Array.from({ length: calls }, () => faultOf(ask(link, callOf(1)))));
        for (const fault of faults) assert.deepEqual([fault.code, fault.reason, fault.origin, fault.details], ['unavailable', 'foreign_answer', [413, 429].includes(status) ? 'unsent' : 'lost', { status }]);
      }
    }
  }
  assert.equal(link.state, 'open');
});

test('an answer that is none of ours is unreadable, and lost', async (t) => {
  const host = await httpHost(t, echo);
  for (const text of ['<html>', '', '{"n":0}\n{"n":99,"value":1}\n{"value":1}\nnull\n{"n":1,"fault":{"code":"toString"}}\n']) {
    const link = await openLink(t, await gateway(t, () => host.port, (incoming, response) => incoming.resume().on('end', () => response.end(text))));
    const faults = [await faultOf(ask(link, callOf(1))), ...(await Promise.all([1, 2].map((n) => faultOf(ask(link, callOf(n))))))];
    for (const fault of faults) assert.deepEqual([fault.reason, fault.origin], ['unreadable_answer', 'lost'], text);
  }
});

test('an answer without end is given up, and lost', async (t) => {
  const host = await httpHost(t, echo);
  const endless = (response: ServerResponse): void => void Readable.from(Array(100).fill('x'.repeat(1024 * 1024))).pipe(response);
  const link = await openLink(t, await gateway(t, () => host.port, (incoming, response) => incoming.resume().on('end', () => endless(response))));
  for (const calls of [1, 2]) {
    const faults = Array.from({ length: calls }, () => faultOf(ask(link, callOf(1))));
    for (const { reason, origin } of await Promise.all(faults)) assert.deepEqual([reason, origin], ['connection_lost', 'lost']);
  }
});

test('another process behind the same connection is noticed', async (t) => {
  const hosts = await Promise.all(['p1', 'p2'].map((process) => httpHost(t, echo, identityOf({ introduction: { host: 'callee', process, contracts: {} } }))));
  let { port } = hosts[0]!;
  const link = await openLink(t, await gateway(t, () => port, (_, response) => response.end()));
  const changes: unknown[] = [];
  const again = new Promise<void>((resolve) => {
    link.onChange = () => {
      changes.push([link.state, link.peer!.process]);
      if (link.state === 'open') resolve();
    };
  });
  port = hosts[1]!.port;
  await again;
  assert.deepEqual(changes, [['connecting', 'p1'], ['open', 'p2']]);
});

test('what is no host of ours is told apart', async (t) => {
  const server = createServer((_, response) => response.end('welcome'));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const link = startedLink(t, { at: { host: '127.0.0.1', port: (server.address() as AddressInfo).port } });
  while (!/introduction/.test(link.problem!)) await new Promise(setImmediate);
  assert.equal(link.state, 'connecting');
});

test('a link takes only so much, in calls and in bytes, and says what did not leave', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  for (const [size, calls, most] of [[1, 5_000, 4_096], [1_000_000, 100, 70]] as const) {
    const link = await openLink(t, host.address);
    const outcomes = Array.from({ length: calls }, () => faultOf(ask(link, callOf('x'.repeat(size)))));
    assert.ok(link.pending <= most, `${link.pending} calls of ${size} characters`);
    const last = await outcomes.at(-1)!;
    assert.deepEqual([last.code, last.reason, last.origin], ['exhausted', 'link_full', 'unsent']);
    await link.stop(0);
    for (const { origin } of await Promise.all(outcomes)) assert.ok(origin === 'unsent' || origin === 'lost');
    assert.equal(link.pending, 0);
  }
});

test('calls that their callers let go of before they left are not sent', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const link = await openLink(t, host.address);
  const reply = { succeed: () => assert.fail('answered'), fail: () => assert.fail('failed') };
  for (let n = 0; n < 10_000; n++) link.send(callOf('gone'), reply)();
  assert.equal(link.pending, 0);
  void ask(link, callOf('stays')).catch(() => {});
  await held.count(1);
  assert.deepEqual(held.calls.map(({ call }) => call.request), ['stays']);
});

test('more slow calls than connections wait for each other, and none is forgotten', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const link = await openLink(t, host.address, false);
  const answers = Array.from({ length: 300 }, (_, n) => ask(link, callOf(n)));
  // One of the 256 connections watches the peer.
  await held.count(255);
  assert.equal(held.calls.length, 255);
  for (let answered = 0; answered < 300; answered++) {
    await held.count(answered + 1);
    const { call, answer } = held.calls[answered]!;
    answer({ value: call.request });
  }
  assert.deepEqual(await Promise.all(answers), answers.map((_, n) => n));
});

test('stopping a link finishes what is under way, or fails it at the deadline', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const link = await openLink(t, host.address);
  const finishes = ask(link, callOf(1));
  await held.count(1);
  const stopped = link.stop(10_000);
  assert.equal((await faultOf(ask(link, callOf(2)))).origin, 'unsent');
  held.calls[0]!.answer({ value: 'done' });
  assert.equal(await finishes, 'done');
  await stopped;

  const other = await openLink(t, host.address);
  const fails = faultOf(ask(other, callOf(3)));
  await held.count(2);
  await other.stop(50);
  assert.equal((await fails).origin, 'lost');
  assert.deepEqual([link.state, other.state], ['closed', 'closed']);

  const third = await openLink(t, host.address);
  const late = ask(third, callOf(4));
  await held.count(3);
  const ended = third.stop(10_000);
  third.onChange = () => assert.fail(third.state);
  const drained = host.server.stop(10_000);
  // By the time that somebody else has been told, it has been told, too.
  const witness = startedLink(t, host.address);
  while (!/stopping/.test(witness.problem!)) await new Promise(setImmediate);
  held.calls[2]!.answer({ value: 'late' });
  assert.equal(await late, 'late');
  await Promise.all([ended, drained]);
  assert.equal(third.state, 'closed');
});

test('with TLS both ends show certificates of one authority, and strangers stay out', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tls-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const authority = authorityIn(folder, 'ours');
  const [callee, caller] = [authority('mailer'), authority('app')];
  const stranger = authorityIn(folder, 'theirs')('app');
  const serving = http.serve(identityOf(), { dispatch: echo });
  const listener = createTlsServer({ ...callee, requestCert: true, rejectUnauthorized: true }, (socket) => serving.accept(socket)).on('tlsClientError', () => {});
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  t.after(async () => {
    await serving.stop(0);
    listener.close();
  });
  const at = { host: '127.0.0.1', port: (listener.address() as AddressInfo).port };
  const link = await openLink(t, { at, tls: { ...caller, serverName: 'mailer' } });
  assert.deepEqual(await Promise.all([1, 2].map((n) => ask(link, callOf(n)))), [1, 2]);
  for (const tls of [{ ...caller, serverName: 'portal' }, { ...stranger, serverName: 'mailer' }, { ...stranger, ca: caller.ca, serverName: 'mailer' }]) {
    const outside = startedLink(t, { at, tls });
    while (!/cannot be reached/.test(outside.problem!)) await new Promise(setImmediate);
    assert.equal(outside.state, 'connecting');
    await outside.stop(0);
  }
});

/** Signs certificates for hosts by name. */
function authorityIn(folder: string, name: string): (host: string) => TlsMaterial {
  const path = (file: string): string => join(folder, `${name}-${file}`);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'ignore' });
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${name}`, '-keyout', path('ca.key'), '-out', path('ca.crt'));
  return (host) => {
    const [key, csr, crt] = [path(`${host}.key`), path(`${host}.csr`), path(`${host}.crt`)];
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`, '-keyout', key, '-out', csr);
    openssl('x509', '-req', '-days', '2', '-in', csr, '-CA', path('ca.crt'), '-CAkey', path('ca.key'), '-CAcreateserial', '-copy_extensions', 'copy', '-out', crt);
    return { cert: readFileSync(crt, 'utf8'), key: readFileSync(key, 'utf8'), ca: readFileSync(path('ca.crt'), 'utf8') };
  };
}
