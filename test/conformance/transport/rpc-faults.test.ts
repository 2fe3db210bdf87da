import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext as Test } from 'node:test';
import { rpcWith } from '../../../adapters/transport/rpc/transport.ts';
import type { Fault } from '../../../src/kernel/fault.ts';
import type { Dispatcher, Link } from '../../../src/ports/transport.ts';
import { seeded } from '../../support/seed.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';
import { ask, callOf, echo, faultOf, Held, type Host, linkState, transportUnderTest, within } from '../../support/transports.ts';

const QUICK = { beatMs: 50, silentBeats: 3, firstPauseMs: 5, mostPauseMs: 50, handshakeMs: 500 };
const under = transportUnderTest('rpc', rpcWith(QUICK));
const VALUE = { id: 'p1', list: [{ name: 'one', at: 1_789_000_000_000 }, { name: 'two', at: 2 }], text: 'x'.repeat(300) };

interface Setting {
  readonly host: Host;
  readonly proxy: TcpProxy;
  readonly link: Link;
}

async function proxied(t: Test, dispatch: Dispatcher['dispatch'] = echo): Promise<Setting> {
  const host = await under.host(t, dispatch);
  const proxy = await TcpProxy.start(host.address.at);
  t.after(() => proxy.stop());
  return { host, proxy, link: await under.openLink(t, proxy.address) };
}

test('a peer that falls silent without a word is noticed by both ends, and found again', async (t) => {
  const held = new Held();
  const { host, proxy, link } = await proxied(t, held.dispatch);
  const answers = [1, 2, 3].map((n) => faultOf(ask(link, callOf(n))));
  await held.count(3);
  proxy.isBlackHole = true;
  const began = Date.now();
  for (const { code, reason, origin } of await Promise.all(answers)) assert.deepEqual([code, reason, origin], ['unavailable', 'connection_lost', 'lost']);
  assert.ok(Date.now() - began < 5_000);
  const serverSide = held.calls[0]!.call.signal;
  if (!serverSide.aborted) await within(5_000, new Promise((resolve) => serverSide.addEventListener('abort', resolve)), () => 'the server did not notice');
  assert.equal(host.server.connections, 0);
  proxy.isBlackHole = false;
  await linkState(link, 'open');
  const answer = ask(link, callOf(4));
  await held.count(4);
  held.calls[3]!.answer({ value: 'back' });
  assert.equal(await answer, 'back');
});

test('a quiet connection stays, and so does a slow one', async (t) => {
  const { proxy, link } = await proxied(t);
  let changes = 0;
  link.onChange = () => changes++;
  proxy.delayMs = 60;
  for (let n = 0; n < 5; n++) assert.deepEqual(await ask(link, callOf(VALUE)), VALUE);
  await new Promise((resolve) => setTimeout(resolve, QUICK.beatMs * QUICK.silentBeats * 3));
  assert.deepEqual(await ask(link, callOf(VALUE)), VALUE);
  assert.equal(changes, 0);
});

test('a host that takes connections and says nothing does not hold the link up', async (t) => {
  const host = await under.host(t, echo);
  const proxy = await TcpProxy.start(host.address.at);
  t.after(() => proxy.stop());
  proxy.isBlackHole = true;
  const link = under.link(t, proxy.address);
  while (!/introduce/.test(link.problem ?? '')) await new Promise((resolve) => setTimeout(resolve, 5));
  proxy.isBlackHole = false;
  await linkState(link, 'open');
});

test('a connection cut at any byte loses the call or answers it rightly, and the next connection serves', async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const { proxy, link } = await proxied(t);
  for (let round = 0; round < 150; round++) {
    await linkState(link, 'open');
    proxy.cutAfter(1 + random.whole(3_000), round % 2 === 0 ? 'up' : 'down');
    while (link.state === 'open') {
      const outcome = await ask(link, callOf({ ...VALUE, round })).catch((fault: Fault) => fault);
      if (outcome instanceof Error) assert.notEqual((outcome as Fault).origin, 'reply');
      else assert.deepEqual(outcome, { ...VALUE, round });
    }
  }
});

for (const [title, change] of [
  ['changed', (chunk: Buffer, at: number, bit: number) => (chunk[at]! ^= 1 << bit, [chunk])],
  ['repeated', (chunk: Buffer) => [chunk, chunk]],
  ['lost', () => []],
  ['left out', (chunk: Buffer, at: number) => [chunk.subarray(0, at), chunk.subarray(at + 1)]],
] as const) {
  test(`bytes that are ${title} on the way close the connection, and never make a wrong answer or a call of two effects`, async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const effects = new Map<unknown, number>();
    const { proxy, link } = await proxied(t, async ({ request }) => {
      const { n } = request as { n: number };
      effects.set(n, (effects.get(n) ?? 0) + 1);
      return { value: request };
    });
    let n = 0;
    for (let round = 0; round < 60; round++) {
      await linkState(link, 'open');
      let left = 1 + random.whole(6);
      proxy.meddle = (chunk) => (--left === 0 ? change(Buffer.from(chunk), random.whole(chunk.length), random.whole(8)) : [chunk]);
      const sent = Array.from({ length: 20 }, () => ({ ...VALUE, n: n++ }));
      for (const request of sent) {
        const outcome = await Promise.race([ask(link, callOf(request)), new Promise((resolve) => setTimeout(resolve, 3_000, 'no answer'))]).catch((fault: Fault) => fault);
        if (outcome instanceof Error) assert.notEqual((outcome as Fault).origin, 'reply');
        else assert.deepEqual(outcome, request);
      }
      proxy.meddle = undefined;
    }
    assert.deepEqual([...effects].filter(([, count]) => count > 1), []);
  });
}
