import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { httpTransport } from '../../../adapters/transport/http/transport.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { ask, callOf, echo, faultOf, Held, httpHost, identityOf, linkState, openLink, startedLink } from '../../support/http-host.ts';

test('a call arrives with all that belongs to it, and its answer comes back', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const link = await openLink(t, host.address);
  for (const together of [false, true]) {
    held.calls.length = 0;
    const call = callOf({ text: 'ä\u2028\ud800' }, { workspace: 'w ü/1', actor: { kind: 'api_key', id: 'k:1%' }, idempotencyKey: 'once, only "once"\n' });
    const answers = [ask(link, call), ...(together ? [ask(link, callOf(null))] : [])];
    await held.count(answers.length);
    const { call: arrived, answer } = held.calls[0]!;
    for (const name of ['contract', 'method', 'request', 'id', 'workspace', 'actor', 'trace', 'idempotencyKey'] as const) assert.deepEqual(arrived[name], call[name], name);
    assert.ok(Math.abs(arrived.deadline - call.deadline) < 1_000);
    for (const one of held.calls) one.answer({ value: { heard: one.call.request } });
    assert.deepEqual(await answers[0], { heard: call.request });
    await Promise.all(answers);
    assert.equal(answer === undefined, false);
  }
  assert.equal(link.pending, 0);
});

test('what no header can hold crosses all the same', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const link = await openLink(t, host.address);
  for (const change of [{ id: 'half a character: \ud800' }, { idempotencyKey: 'k'.repeat(5_000) }, { actor: { kind: 'source', id: '' } as const }]) {
    held.calls.length = 0;
    const call = callOf(1, change);
    const answer = ask(link, call);
    await held.count(1);
    const { call: arrived } = held.calls[0]!;
    for (const name of ['id', 'workspace', 'actor', 'idempotencyKey'] as const) assert.deepEqual(arrived[name], call[name], name);
    held.calls[0]!.answer({ value: 'fine' });
    assert.equal(await answer, 'fine');
  }
});

test('a slow call of a batch does not hold back the others', async (t) => {
  const held = new Held();
  const host = await httpHost(t, async (call) => (call.request === 'slow' ? held.dispatch(call) : { value: call.request }));
  const link = await openLink(t, host.address);
  const slow = ask(link, callOf('slow'));
  const fast = Array.from({ length: 20 }, (_, i) => ask(link, callOf(i)));
  assert.deepEqual(await Promise.all(fast), fast.map((_, i) => i));
  assert.equal(link.pending, 1);
  held.calls[0]!.answer({ value: 'at last' });
  assert.equal(await slow, 'at last');
  assert.equal(host.sockets.size, 2, 'one for the calls, one to watch');
});

test('a fault arrives as it was, alone and in a batch', async (t) => {
  const fault = new Fault('conflict', 'Somebody was faster.', { reason: 'version_changed', details: { version: 3, ['__proto__']: 1 } });
  const host = await httpHost(t, async () => ({ fault: fault.toRecord() }));
  const link = await openLink(t, host.address);
  assert.deepEqual((await faultOf(ask(link, callOf(1)))).toRecord(), fault.toRecord());
  for (const one of await Promise.all([1, 2, 3].map((n) => faultOf(ask(link, callOf(n)))))) assert.deepEqual(one.toRecord(), fault.toRecord());
});

test('cancelling one call, all of a batch, or some of a batch aborts just those', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const link = await openLink(t, host.address);
  const reply = { succeed: () => assert.fail('answered'), fail: () => assert.fail('failed') };
  const aborted = (signal: AbortSignal): Promise<unknown> => new Promise((resolve) => (signal.aborted ? resolve(signal.reason) : signal.addEventListener('abort', () => resolve(signal.reason))));
  const isCancelled = async (signal: AbortSignal): Promise<void> => assert.equal(((await aborted(signal)) as Fault).code, 'cancelled');

  const cancelSingle = link.send(callOf('single'), reply);
  await held.count(1);
  cancelSingle();
  await isCancelled(held.calls[0]!.call.signal);

  const cancels = ['a', 'b', 'c'].map((request) => link.send(callOf(request), reply));
  await held.count(4);
  cancels[1]!();
  await isCancelled(held.calls[2]!.call.signal);
  assert.equal(held.calls[1]!.call.signal.aborted, false);
  cancels[0]!();
  cancels[2]!();
  await isCancelled(held.calls[1]!.call.signal);
  await isCancelled(held.calls[3]!.call.signal);
  assert.equal(link.pending, 0);
});

test('a peer that is not there, or is killed, fails calls as unsent or lost', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const link = await openLink(t, host.address);
  const single = faultOf(ask(link, callOf(1)));
  await held.count(1);
  const batch = [2, 3].map((n) => faultOf(ask(link, callOf(n))));
  await held.count(3);
  await host.kill();
  for (const fault of [await single, ...(await Promise.all(batch))]) assert.deepEqual([fault.code, fault.origin], ['unavailable', 'lost']);
  await linkState(link, 'connecting');
  const { code, reason, origin } = await faultOf(ask(link, callOf(4)));
  assert.deepEqual([code, reason, origin], ['unavailable', 'not_connected', 'unsent']);
  assert.match(link.problem!, /ECONNREFUSED/);
});

test('a peer that comes back as another process is found again', async (t) => {
  const first = await httpHost(t, echo, identityOf({ introduction: { host: 'callee', process: 'p1', contracts: {} } }));
  const link = await openLink(t, first.address);
  assert.equal(link.peer!.process, 'p1');
  await first.kill();
  await linkState(link, 'connecting');
  await httpHost(t, echo, identityOf({ introduction: { host: 'callee', process: 'p2', contracts: {} } }), first.port);
  await linkState(link, 'open');
  assert.equal(link.peer!.process, 'p2');
  assert.equal(await ask(link, callOf(1)), 1);
});

test('a link with another secret stays out and says why', async (t) => {
  const host = await httpHost(t, echo);
  const link = startedLink(t, host.address, true, identityOf({ secret: 'a wrong one' }));
  while (!/secret/.test(link.problem ?? '')) await new Promise(setImmediate);
  assert.equal(link.state, 'connecting');
  assert.equal((await faultOf(ask(link, callOf(1)))).origin, 'unsent');
});

test('what a host offers can be asked for', async (t) => {
  const identity = identityOf();
  const host = await httpHost(t, echo, identity);
  const link = await openLink(t, host.address);
  assert.deepEqual(await link.describe(), identity.offers);
});

test('a host that stops answers what is under way, takes nothing new, and tells its peers', async (t) => {
  const held = new Held();
  const host = await httpHost(t, held.dispatch);
  const link = await openLink(t, host.address);
  const single = ask(link, callOf('single'));
  await held.count(1);
  const batch = ['a', 'b'].map((request) => ask(link, callOf(request)));
  await held.count(3);
  const stopped = host.server.stop(10_000);
  await linkState(link, 'connecting');
  assert.match(link.problem!, /stopping/);
  for (const { call, answer } of held.calls) answer({ value: call.request });
  assert.deepEqual(await Promise.all([single, ...batch]), ['single', 'a', 'b']);
  await stopped;
  assert.equal(host.server.connections, 0);
});

/** What a stop may take; one that has nothing to wait for is over long before. */
const STOP_MS = 20_000;

test('a host that stops does not wait for links that have nothing under way', async (t) => {
  const host = await httpHost(t, echo);
  const link = await openLink(t, host.address);
  await Promise.all([ask(link, callOf(1)), ask(link, callOf(2))]);
  const began = performance.now();
  await host.server.stop(STOP_MS);
  const tookMs = performance.now() - began;
  assert.ok(tookMs < STOP_MS / 2, `${tookMs} ms`);
});

test('a host that stops does not wait for those who only ask how it is doing', async () => {
  const server = httpTransport().serve(identityOf(), { dispatch: echo }, { handle: (_, response) => (response.end('fine'), true) });
  const listener = createServer((socket) => server.accept(socket));
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const agent = new Agent({ keepAlive: true });
  const [answer] = (await once(get({ port: (listener.address() as AddressInfo).port, path: '/readyz', agent }), 'response')) as [IncomingMessage];
  assert.equal(await text(answer), 'fine');
  assert.equal(server.connections, 1);
  const began = performance.now();
  await server.stop(STOP_MS);
  const tookMs = performance.now() - began;
  assert.ok(tookMs < STOP_MS / 2, `${tookMs} ms`);
  agent.destroy();
  listener.close();
});
