import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { Fault } from '../../../src/kernel/fault.ts';
import type { ArrivedCall, Link } from '../../../src/ports/transport.ts';
import { ask, callOf, echo, faultOf, Held, type Host, identityOf, linkState, onEachTransport, within } from '../../support/transports.ts';
import { seeded } from '../../support/seed.ts';

onEachTransport('connections', (under) => {
  test('calls arrive in the order in which they were sent', async (t) => {
    const arrived: unknown[] = [];
    const host = await under.host(t, async ({ request }) => {
      arrived.push(request);
      return { value: null };
    });
    const link = await under.openLink(t, host.address);
    const sent = Array.from({ length: 50 }, (_, n) => n);
    for (const n of sent) await ask(link, callOf(n));
    assert.deepEqual(arrived, sent);
  });

  test('cancelling reaches the callee, and no reply comes', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    const cancel = link.send(callOf(1), { succeed: () => assert.fail('answered'), fail: () => assert.fail('failed') });
    await held.count(1);
    const { call, answer } = held.calls[0]!;
    cancel();
    cancel();
    assert.equal((await aborted(call)).code, 'cancelled');
    answer({ value: 'too late' });
    const other = ask(link, callOf(2));
    await held.count(2);
    held.calls[1]!.answer({ value: 'next' });
    assert.equal(await other, 'next');
  });

  test('a call that was cancelled before anybody asks for its signal has one that is aborted', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    const cancel = link.send(callOf(1), { succeed() {}, fail() {} });
    await held.count(1);
    cancel();
    const settled = ask(link, callOf(2));
    await held.count(2);
    held.calls[1]!.answer({ value: 2 });
    await settled;
    assert.equal((await aborted(held.calls[0]!.call)).code, 'cancelled');
  });

  test('before a connection is there, and after the stop, calls fail as unsent', async (t) => {
    const host = await under.host(t, echo);
    await host.kill();
    const link = under.link(t, host.address);
    for (const expected of ['connecting', 'closed'] as const) {
      assert.equal(link.state, expected === 'connecting' ? link.state : 'closed');
      const { code, reason, origin } = await faultOf(ask(link, callOf(1)));
      assert.deepEqual([code, reason, origin], ['unavailable', 'not_connected', 'unsent']);
      assert.equal((await faultOf(link.describe())).code, 'unavailable');
      assert.ok(link.problem);
      await link.stop(100);
    }
  });

  test('calls under way fail as lost when the host is killed, and its signals abort', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    const answers = Array.from({ length: 20 }, (_, n) => faultOf(ask(link, callOf(n))));
    await held.count(20);
    const signals = held.calls.map(({ call }) => aborted(call));
    await host.kill();
    for (const fault of await Promise.all(answers)) assert.deepEqual([fault.code, fault.reason, fault.origin], ['unavailable', 'connection_lost', 'lost']);
    await within(5_000, Promise.all(signals), () => 'signals did not abort');
    await linkState(link, 'connecting');
    assert.equal(link.pending, 0);
  });

  test('the signals of calls abort when the caller is gone', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    link.send(callOf(1), { succeed() {}, fail() {} });
    await held.count(1);
    const signal = aborted(held.calls[0]!.call);
    await link.stop(0);
    assert.equal((await within(5_000, signal, () => 'the signal did not abort')).code, 'cancelled');
  });

  test('a host that comes back as another process is found again, several times', async (t) => {
    let host: Host = await under.host(t, echo, identityOf({ introduction: { host: 'callee', process: 'p0', contracts: {} } }));
    const link = await under.openLink(t, host.address);
    for (const process of ['p1', 'p2']) {
      await host.kill();
      await linkState(link, 'connecting');
      host = await under.host(t, echo, identityOf({ introduction: { host: 'callee', process, contracts: {} } }), host.address.at);
      await linkState(link, 'open');
      assert.equal(link.peer?.process, process);
      assert.equal(await ask(link, callOf(process)), process);
    }
  });

  test('a host that stops answers what is under way, takes nothing new, and tells its callers', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    const answers = [1, 2, 3].map((n) => ask(link, callOf(n)));
    await held.count(3);
    await host.stopListening();
    const stopped = host.server.stop(10_000);
    await linkState(link, 'connecting');
    assert.ok(link.problem);
    assert.equal((await faultOf(ask(link, callOf(4)))).origin, 'unsent');
    for (const { call, answer } of held.calls) answer({ value: call.request });
    assert.deepEqual(await Promise.all(answers), [1, 2, 3]);
    await within(5_000, stopped, () => 'the server did not stop');
    assert.equal(host.server.connections, 0);
    assert.equal(held.calls.length, 3);
  });

  test('a link tells a host that stopped in order from one that was killed, also when no call shows it', async (t) => {
    for (const [end, leftInOrder] of [['stops', true], ['is killed', false], ['stops', true]] as const) {
      const host = await under.host(t, echo);
      const link = await under.openLink(t, host.address);
      await host.stopListening();
      const ended = end === 'stops' ? host.server.stop(10_000) : host.kill();
      await linkState(link, 'connecting');
      await ended;
      assert.equal(link.leftInOrder, leftInOrder, end);
      await link.stop(100);
    }
  });

  test('no call is lost or made twice while a host stops under load and another takes its place', async (t) => {
    const effects = new Map<unknown, number>();
    const dispatch = async ({ request }: ArrivedCall): Promise<{ value: unknown }> => {
      effects.set(request, (effects.get(request) ?? 0) + 1);
      await new Promise(setImmediate);
      return { value: request };
    };
    let host = await under.host(t, dispatch);
    const link = await under.openLink(t, host.address);
    let next = 0;
    const callers = Array.from({ length: 16 }, async () => {
      while (next < 3_000) {
        const n = next++;
        for (;;) {
          const outcome = await ask(link, callOf(n)).catch((fault: Fault) => fault);
          if (outcome === n) break;
          assert.equal((outcome as Fault).origin, 'unsent', (outcome as Fault).message);
          await new Promise(setImmediate);
        }
      }
    });
    for (const at of [800, 1_600]) {
      while (next < at) await new Promise(setImmediate);
      await host.stopListening();
      await host.server.stop(10_000);
      host = await under.host(t, dispatch, identityOf(), host.address.at);
    }
    await Promise.all(callers);
    assert.equal(effects.size, 3_000);
    assert.deepEqual([...effects].filter(([, count]) => count !== 1), []);
  });

  test('a server stops at its deadline, whatever is under way', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    const answer = faultOf(ask(link, callOf(1)));
    await held.count(1);
    await within(5_000, host.server.stop(50), () => 'the server did not stop');
    assert.equal((await answer).origin, 'lost');
    assert.equal(host.server.connections, 0);
  });

  test('a link that stops waits for what is under way, until its deadline', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const patient = await under.openLink(t, host.address);
    const answer = ask(patient, callOf(1));
    await held.count(1);
    const stopped = patient.stop(10_000);
    held.calls[0]!.answer({ value: 'in time' });
    assert.equal(await answer, 'in time');
    await within(5_000, stopped, () => 'the link did not stop');

    const hasty = await under.openLink(t, host.address);
    const lost = faultOf(ask(hasty, callOf(2)));
    await held.count(2);
    await hasty.stop(20);
    assert.equal((await lost).origin, 'lost');
  });

  test('a link or a server stops before it was started, twice, and in the middle of connecting', async (t) => {
    const host = await under.host(t, echo);
    const idle = under.transport.link(identityOf(), host.address);
    await idle.stop(100);
    await idle.start();
    assert.equal(idle.state, 'closed');
    const link = under.link(t, host.address);
    await Promise.all([link.stop(100), link.stop(100)]);
    assert.equal(link.state, 'closed');
    await Promise.all([host.server.stop(100), host.server.stop(100)]);
    assert.equal(host.server.connections, 0);
  });

  test('another secret, or none, keeps a link out and says what to do', async (t) => {
    const host = await under.host(t, echo);
    const open = await under.host(t, echo, identityOf({ secret: null }));
    for (const [to, secret] of [[host, 'a wrong one'], [host, null]] as const) {
      const link = under.link(t, to.address, identityOf({ secret }));
      await problemOf(link, /secret/);
      assert.equal(link.state, 'connecting');
      assert.equal((await faultOf(ask(link, callOf(1)))).origin, 'unsent');
    }
    const link = await under.openLink(t, open.address, identityOf({ secret: null }));
    assert.equal(await ask(link, callOf('no secret on either side')), 'no secret on either side');
  });

  test('a process ends by itself once its link and its server have stopped', async (t) => {
    const host = await under.host(t, echo);
    const { stdout } = await promisify(execFile)(process.execPath, [join(import.meta.dirname, '../../support/transport-child.js'), under.name, JSON.stringify(host.address.at)], { timeout: 20_000 });
    assert.equal(stdout.trim(), 'answered, stopped');
  });

  test('garbage and oversized frames from strangers harm nobody else', async (t) => {
    const random = seeded((line) => t.diagnostic(line));
    const host = await under.host(t, echo);
    const link = await under.openLink(t, host.address);
    const noise = (length: number): Buffer => Buffer.from(Array.from({ length }, () => random.whole(256)));
    const beginnings = [Buffer.alloc(0), Buffer.from([0x8d, 0x4d, 0x4c, 0x52, 0x50, 0x01, 0x0d, 0x0a]), Buffer.from('POST /contract/x/y HTTP/1.1\r\n')];
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 60; i++) {
      const stranger = connect('socketPath' in host.address.at ? { path: host.address.at.socketPath } : host.address.at);
      stranger.on('error', () => {});
      await once(stranger, 'connect');
      stranger.write(Buffer.concat([beginnings[i % beginnings.length]!, i % 2 === 0 ? noise(random.whole(5_000)) : Buffer.alloc(12, 0xff)]));
      if (i % 4 === 0) stranger.end();
      assert.equal(await ask(link, callOf(i)), i);
      stranger.destroy();
    }
    assert.ok(process.memoryUsage().arrayBuffers - before < 32 * 1024 * 1024);
    assert.equal(link.state, 'open');
  });
});

function aborted({ signal }: ArrivedCall): Promise<Fault> {
  return new Promise((resolve) => (signal.aborted ? resolve(signal.reason as Fault) : signal.addEventListener('abort', () => resolve(signal.reason as Fault))));
}

async function problemOf(link: Link, like: RegExp): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!like.test(link.problem ?? '')) {
    assert.ok(Date.now() < deadline, `the problem is ${link.problem}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
