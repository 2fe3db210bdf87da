import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { test, type TestContext as Test } from 'node:test';
import { FrameReader } from '../../../../../adapters/transport/rpc/frame-reader.ts';
import { handshakeFrame, KIND_HANDSHAKE, PREAMBLE } from '../../../../../adapters/transport/rpc/frames.ts';
import { CallerHandshake, ServerHandshake } from '../../../../../adapters/transport/rpc/handshake.ts';
import { Incoming } from '../../../../../adapters/transport/rpc/incoming.ts';
import { DESCRIBE, GO_AWAY, type Message } from '../../../../../adapters/transport/rpc/messages.ts';
import { Outgoing } from '../../../../../adapters/transport/rpc/outgoing.ts';
import { DEFAULTS } from '../../../../../adapters/transport/rpc/settings.ts';
import { rpcWith } from '../../../../../adapters/transport/rpc/transport.ts';
import { ask, callOf, echo, faultOf, Held, identityOf, linkState, transportUnderTest, within } from '../../../../support/transports.ts';

const QUICK = { beatMs: 100, silentBeats: 5, firstPauseMs: 5, mostPauseMs: 20, handshakeMs: 1_000 };

interface BadCaller {
  readonly socket: Socket;
  readonly out: Outgoing;
  /** Reads on, from where it stopped after the handshake; resolves with the first message. */
  listen(): Promise<Message>;
}

/** A caller that has introduced itself, and then writes what the test wants and reads nothing. */
async function badCaller(t: Test, at: object): Promise<BadCaller> {
  const socket = connect(at as { port: number });
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write(PREAMBLE);
  let frames = 0;
  const welcomed = Promise.withResolvers<void>();
  const heard = Promise.withResolvers<Message>();
  const handshake = new CallerHandshake(identityOf(), DEFAULTS, (content) => socket.write(handshakeFrame(content, frames++)));
  const incoming = new Incoming();
  const reader = new FrameReader(DEFAULTS.maxFrameBytes, false, (body) => {
    if (body[0] !== KIND_HANDSHAKE) incoming.read(body, heard.resolve);
    else if (handshake.take(JSON.parse(body.toString('utf8', 1))) !== undefined) welcomed.resolve();
    return true;
  });
  socket.on('data', (chunk: Buffer) => reader.push(chunk));
  await welcomed.promise;
  socket.pause();
  return { socket, out: new Outgoing(DEFAULTS.maxFrameBytes, frames), listen: () => (socket.resume(), heard.promise) };
}

/** A server that introduces itself, and then reads and does what the test wants with what comes: nothing, unless told. */
async function badServer(t: Test, window: { windowCalls: number; windowBytes: number }, heard: (socket: Socket, out: Outgoing) => void = () => {}): Promise<number> {
  const listener = createServer((socket) => {
    let frames = 0;
    socket.on('error', () => {});
    const handshake = new ServerHandshake(identityOf(), { ...DEFAULTS, ...window }, (content) => socket.write(handshakeFrame(content, frames++)));
    const reader = new FrameReader(DEFAULTS.maxFrameBytes, true, (body) => {
      const done = handshake.take(JSON.parse(body.toString('utf8', 1))) !== undefined;
      if (done) socket.removeAllListeners('data').on('data', () => heard(socket, new Outgoing(DEFAULTS.maxFrameBytes, frames)));
      return !done;
    });
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
    t.after(() => socket.destroy());
  });
  t.after(() => listener.close());
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  return (listener.address() as AddressInfo).port;
}

test('beyond what the other side grants, calls wait in order, and beyond that they are refused unsent', async (t) => {
  const held = new Held();
  const under = transportUnderTest('rpc', rpcWith({ windowCalls: 4, queueCalls: 6 }));
  const host = await under.host(t, held.dispatch);
  const link = await under.openLink(t, host.address);
  const answers = Array.from({ length: 10 }, (_, n) => ask(link, callOf(n)));
  const { code, reason, origin } = await faultOf(ask(link, callOf('one too many')));
  assert.deepEqual([code, reason, origin], ['exhausted', 'link_full', 'unsent']);
  await held.count(4);
  assert.equal(link.pending, 10);
  for (let n = 0; n < 10; n++) {
    await held.count(n + 1);
    assert.ok(held.calls.length <= n + 4);
    assert.equal(held.calls[n]!.call.request, n);
    held.calls[n]!.answer({ value: n });
  }
  assert.deepEqual(await Promise.all(answers), answers.map((_, n) => n));
});

test('a call that waits and is cancelled never leaves, and a cancelled one keeps its place until it is answered', async (t) => {
  const held = new Held();
  const under = transportUnderTest('rpc', rpcWith({ windowCalls: 1 }));
  const host = await under.host(t, held.dispatch);
  const link = await under.openLink(t, host.address);
  const silent = { succeed: () => assert.fail('answered'), fail: () => assert.fail('failed') };
  const cancelFirst = link.send(callOf('first'), silent);
  const cancelSecond = link.send(callOf('second'), silent);
  const third = ask(link, callOf('third'));
  cancelSecond();
  await held.count(1);
  cancelFirst();
  assert.equal(link.pending, 2);
  held.calls[0]!.answer({ value: 'late' });
  await held.count(2);
  cancelFirst();
  assert.equal(held.calls[1]!.call.request, 'third');
  held.calls[1]!.answer({ value: 'third' });
  assert.equal(await third, 'third');
});

test('a server that does not answer makes a link hold a bounded amount, in calls and in bytes', async (t) => {
  const port = await badServer(t, { windowCalls: 100, windowBytes: 1_000_000 });
  const under = transportUnderTest('rpc', rpcWith({ queueCalls: 1_000, queueBytes: 1_000_000 }));
  const link = await under.openLink(t, { at: { host: '127.0.0.1', port } });
  const outcomes = Array.from({ length: 400 }, () => faultOf(ask(link, callOf('x'.repeat(10_000)))));
  await within(2_000, Promise.any(outcomes), () => 'nothing was refused');
  assert.ok(link.pending > 150 && link.pending < 210, `${link.pending} pending`);
  await link.stop(0);
  const origins = (await Promise.all(outcomes)).map(({ origin }) => origin);
  assert.ok(origins.filter((origin) => origin === 'lost').length <= 101);
});

test('of the calls on a connection that breaks, those that never left are unsent and the others lost', async (t) => {
  const garbage = Buffer.alloc(12, 0xff);
  const port = await badServer(t, { windowCalls: 10, windowBytes: 1_000 }, (socket, out) => {
    out.answer(0, 'first');
    socket.write(Buffer.concat([...out.take(), garbage]));
  });
  const under = transportUnderTest('rpc', rpcWith(QUICK));
  const link = await under.openLink(t, { at: { host: '127.0.0.1', port } });
  const late = Promise.withResolvers<unknown>();
  link.send(callOf('first'), { succeed: () => link.send(callOf('sent by the answer'), { succeed: late.resolve, fail: late.reject }), fail: late.reject });
  const lost = faultOf(ask(link, callOf('second')));
  assert.deepEqual([(await faultOf(late.promise)).origin, (await lost).origin], ['unsent', 'lost']);
});

test('a caller that does not read makes a server hold a bounded amount, and is given up', async (t) => {
  const under = transportUnderTest('rpc', rpcWith({ ...QUICK, highWaterBytes: 1_000_000 }));
  const large = 'x'.repeat(100_000);
  const host = await under.host(t, async ({ request }) => ({ value: request === 'large' ? large : request }));
  const other = await under.openLink(t, host.address);
  const { socket, out } = await badCaller(t, host.address.at);
  const before = process.memoryUsage().arrayBuffers;
  for (let number = 0; number < 1_000; number++) out.call(number, 10_000, callOf('large'));
  for (const frame of out.take()) socket.write(frame);
  assert.equal(await ask(other, callOf('still served')), 'still served');
  const served = [...host.sockets].find((one) => one.remotePort === socket.localPort)!;
  await within(5_000, new Promise((resolve) => served.once('close', resolve)), () => 'the server did not give it up');
  assert.ok(process.memoryUsage().arrayBuffers - before < 20_000_000, `${process.memoryUsage().arrayBuffers - before} bytes more`);
  assert.equal(await ask(other, callOf('and after')), 'and after');
});

test('answers that come faster than they are read wait their turn, and beyond a bound become faults', async (t) => {
  const held = new Held();
  const under = transportUnderTest('rpc', rpcWith({ highWaterBytes: 100_000, queueBytes: 1_000_000 }));
  const host = await under.host(t, held.dispatch);
  const link = await under.openLink(t, host.address);
  const text = 'x'.repeat(50_000);
  const outcomes = Array.from({ length: 100 }, (_, n) => ask(link, callOf(n)).catch(({ reason }) => reason));
  await held.count(100);
  for (const { answer } of held.calls) answer({ value: text });
  const all = await within(5_000, Promise.all(outcomes), () => 'answers were forgotten');
  const arrived = all.filter((outcome) => outcome === text).length;
  assert.ok(arrived >= 20 && arrived <= 25, `${arrived} arrived`);
  assert.equal(all.filter((outcome) => outcome === 'answers_not_read').length, 100 - arrived);
});

test('a caller that breaks the rules is closed, and nobody else is', async (t) => {
  const held = new Held();
  const under = transportUnderTest('rpc', rpcWith({ windowCalls: 8, highWaterBytes: 65_536 }));
  const host = await under.host(t, held.dispatch);
  const link = await under.openLink(t, host.address);
  const breaches: readonly ((out: Outgoing) => void)[] = [
    (out) => [out.call(1, 1_000, callOf(1)), out.call(1, 1_000, callOf(2))],
    (out) => out.call(8, 1_000, callOf('beyond the window')),
    (out) => out.plain(99, 1),
    (out) => out.answer(1, 'nobody asked'),
    (out) => out.plain(1, 2, 3),
    (out) => out.call(1, 1_000, callOf(1, { actor: { kind: 'god' as 'user', id: '1' } })),
    (out) => out.call(1, 1_000, callOf(1), 'not JSON'),
    (out) => out.plain(6),
    (out) => Array.from({ length: 50_000 }, () => out.plain(DESCRIBE, 1)),
  ];
  for (const breach of breaches) {
    const { socket, out } = await badCaller(t, host.address.at);
    breach(out);
    const closed = once(socket, 'close');
    for (const frame of out.take()) socket.write(frame);
    socket.resume();
    await within(5_000, closed, () => `${breach} was let through`);
  }
  const before = held.calls.length;
  const answer = ask(link, callOf('honest'));
  await held.count(before + 1);
  held.calls[before]!.answer({ value: 'served' });
  assert.equal(await answer, 'served');
  assert.equal(host.server.connections, 1);
});

test('a call that was on its way when the server began to stop is not run', async (t) => {
  const held = new Held();
  const under = transportUnderTest('rpc', rpcWith({}));
  const host = await under.host(t, held.dispatch);
  const [told, late] = [await badCaller(t, host.address.at), await badCaller(t, host.address.at)];
  const stopped = host.server.stop(5_000);
  assert.deepEqual(await told.listen(), [GO_AWAY]);
  told.socket.destroy();
  late.out.call(0, 1_000, callOf('late'));
  for (const frame of late.out.take()) late.socket.write(frame);
  assert.deepEqual(await late.listen(), [GO_AWAY]);
  late.socket.end();
  await within(5_000, stopped, () => 'the server did not stop');
  assert.equal(held.calls.length, 0);
});

test('each side proves the secret without showing it, and a proof cannot be used again', () => {
  const said: object[] = [];
  const identity = identityOf({ secret: 'hunter2' });
  const server = new ServerHandshake(identity, DEFAULTS, (content) => said.push(content));
  const caller = new CallerHandshake(identity, DEFAULTS, (content) => said.push(content));
  assert.equal(server.take(said[0]), undefined);
  assert.equal(caller.take(said[1]), undefined);
  assert.equal(server.take(said[2])?.peer.host, 'callee');
  assert.equal(caller.take(said[3])?.windowCalls, DEFAULTS.windowCalls);
  assert.doesNotMatch(JSON.stringify(said), /hunter2/);
  const another = JSON.stringify({ host: 'another', process: 'p', contracts: {} });
  assert.throws(() => caller.take({ ...said[3], introduction: another }), /secret/, 'a proof is one of what stands beside it');
  const again = new ServerHandshake(identity, DEFAULTS, () => {});
  again.take(said[0]);
  assert.throws(() => again.take(said[2]), /secret/);
  const own: object[] = [];
  const mirrored = new CallerHandshake(identity, DEFAULTS, (content) => own.push(content));
  mirrored.take(said[1]);
  assert.throws(() => mirrored.take({ ...said[3], ...own[1] }), /secret/, 'whoever holds up to it what it has said itself');
});

test('a server that knows another secret is not believed, and both sides are told', async (t) => {
  const under = transportUnderTest('rpc', rpcWith(QUICK));
  const host = await under.host(t, echo);
  const seen = new Promise<Error>((resolve) => {
    const accept = host.server.accept.bind(host.server);
    host.server.accept = (socket: Socket) => {
      socket.on('error', resolve);
      accept(socket);
    };
  });
  const link = under.link(t, host.address, identityOf({ secret: 'another' }));
  assert.match((await seen).message, /secret/);
  while (!/secret/.test(link.problem ?? '')) await new Promise((resolve) => setTimeout(resolve, 5));
  await link.stop(0);
});

test('a link gives its peer up and finds it again when the process was replaced in between', async (t) => {
  const under = transportUnderTest('rpc', rpcWith(QUICK));
  const first = await under.host(t, echo);
  const link = await under.openLink(t, first.address);
  const sent = link.traffic.sent;
  await first.kill();
  await linkState(link, 'connecting');
  await under.host(t, echo, identityOf(), first.address.at);
  await linkState(link, 'open');
  assert.ok(link.traffic.sent > sent);
});

test('strangers who never introduce themselves push out the oldest of their kind, and nobody who has', { timeout: 20_000 }, async (t) => {
  const under = transportUnderTest('rpc', rpcWith({ maxStrangers: 2 }));
  const host = await under.host(t, echo);
  const link = await under.openLink(t, host.address);
  const closed: number[] = [];
  for (let n = 0; n < 4; n++) {
    const stranger = connect(host.address.at as { port: number });
    t.after(() => stranger.destroy());
    stranger.on('error', () => {}).on('close', () => void closed.push(n)).resume().write(PREAMBLE);
    await once(stranger, 'connect');
  }
  while (closed.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(closed.toSorted(), [0, 1]);
  assert.equal(await ask(link, callOf('still')), 'still');
});
