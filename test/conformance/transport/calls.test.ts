import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import { ask, callOf, echo, faultOf, Held, identityOf, onEachTransport } from '../../support/transports.ts';

onEachTransport('calls', (under) => {
  test('a call arrives with all that belongs to it, and its answer comes back', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    const call = callOf({ text: 'hello' }, { workspace: null, actor: { kind: 'api_key', id: 'k:1%' }, idempotencyKey: 'once, only "once"' });
    const answer = ask(link, call);
    await held.count(1);
    const arrived = held.calls[0]!.call;
    for (const name of ['contract', 'method', 'request', 'id', 'workspace', 'actor', 'trace', 'idempotencyKey'] as const) assert.deepEqual(arrived[name], call[name], name);
    assert.ok(Math.abs(arrived.deadline - call.deadline) < 1_000);
    assert.equal(link.pending, 1);
    held.calls[0]!.answer({ value: { heard: true } });
    assert.deepEqual(await answer, { heard: true });
    assert.equal(link.pending, 0);
    assert.ok(link.traffic.sent > 0 && link.traffic.received > 0);
  });

  test('a deadline that is far away, or has passed, arrives as one', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    for (const deadline of [Date.now() + 100 * 86_400_000, Date.now() - 5_000]) link.send(callOf(1, { deadline }), { succeed() {}, fail() {} });
    await held.count(2);
    const [far, passed] = held.calls.map(({ call }) => call.deadline - Date.now()).toSorted((a, b) => b - a);
    assert.ok(far! > 60_000 && passed! < 100, `${far}, ${passed}`);
  });

  for (const spent of [false, true]) {
    test(`a fault arrives as it was, with its origin${spent ? ', and spent' : ''}`, async (t) => {
      const fault = new Fault('conflict', 'Somebody was faster: \ud83d\ude00.', { reason: 'version_changed', details: { version: 3, nested: { list: [1, null] }, ['__proto__']: 1 }, spent });
      const host = await under.host(t, async () => ({ fault: fault.toRecord() }));
      const link = await under.openLink(t, host.address);
      for (const found of await Promise.all([1, 2].map((n) => faultOf(ask(link, callOf(n)))))) assert.deepEqual(found.toRecord(), fault.toRecord());
    });
  }

  test('a thousand calls at once, answered in any order, each get their own answer', async (t) => {
    const held = new Held();
    const host = await under.host(t, held.dispatch);
    const link = await under.openLink(t, host.address);
    const answers = Array.from({ length: 1_000 }, (_, n) => ask(link, callOf(n)));
    await held.count(1_000);
    for (const { call, answer } of held.calls.toSorted((a, b) => ((a.call.request as number) * 7919 % 1_000) - ((b.call.request as number) * 7919 % 1_000))) answer({ value: call.request });
    assert.deepEqual(await Promise.all(answers), answers.map((_, n) => n));
  });

  test('what a host serves can be asked for, and both ends know each other', async (t) => {
    const identity = identityOf();
    const host = await under.host(t, echo, identity);
    const link = await under.openLink(t, host.address);
    assert.deepEqual(await link.describe(), identity.offers);
    assert.deepEqual(link.peer, identity.introduction);
    assert.equal(link.problem, undefined);
  });
});
