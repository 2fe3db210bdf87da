import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Call } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Serving } from '../../../src/fabric/serve.ts';
import { Target } from '../../../src/fabric/target.ts';
import { silentLog } from '../../support/context.ts';
import { call, echo, failing, outcomeOf, ReplicaRig, shop, turn } from '../../support/replica-rig.ts';

test('calls through several hosts are tried three times in all where they fail, and a command without a key has one effect', async (t) => {
  const far = new ReplicaRig(t);
  const [c] = await far.open('c');
  c!.answer = failing('lost');
  let effects = 0;
  const target = new Target(shop);
  target.serve({
    look: (request: { n: number }, made: Call) => far.stub.look(request, made),
    buy: (request: { n: number }, made: Call) => {
      effects++;
      return far.stub.look(request, made);
    },
  });
  const serving = new Serving([target], silentLog);
  const near = new ReplicaRig(t);
  const [b] = await near.open('b');
  b!.answer = async (asked, reply) => {
    const answer = await serving.dispatch({ ...asked, signal: new AbortController().signal });
    if ('fault' in answer) reply.fail(Fault.fromRecord(answer.fault));
    else reply.succeed(answer.value);
  };
  assert.equal(await outcomeOf(near.stub.look({ n: 1 }, call())), 'unavailable/scripted lost');
  assert.deepEqual([b!.sent.length, c!.sent.length], [1, 3]);
  far.replicas.update([]);
  far.nowMs += 60_000;
  assert.equal(await outcomeOf(near.stub.buy({ n: 1 }, call())), 'unavailable/not_connected reply');
  assert.deepEqual([b!.sent.length, effects], [2, 1]);
});

test('a callee that passes on what failed behind it is not left alone for that, one that fails itself is', async (t) => {
  for (const [spent, state] of [[true, 'open'], [false, 'resting']] as const) {
    const rig = new ReplicaRig(t);
    const [a] = await rig.open('a');
    a!.answer = (_, reply) => reply.fail(new Fault('unavailable', 'As the script says.', { reason: 'scripted', origin: 'lost', ...(spent && { spent }) }));
    for (let n = 0; n < 30; n++) await outcomeOf(rig.stub.buy({ n }, call()));
    assert.equal(rig.replicas.states()[0]!.state, state);
  }
});

test('a request that cannot cross is not tried again', async (t) => {
  const rig = new ReplicaRig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.answer = b!.answer = failing('unsent', 'invalid');
  assert.equal(await outcomeOf(rig.stub.look({ n: 1 }, call())), 'invalid/scripted unsent');
  assert.equal(a!.sent.length + b!.sent.length, 1);
});

for (const [what, method, key, origin, code, tries] of [
  ['a query that was lost', 'look', undefined, 'lost', 'unavailable', 2],
  ['a command with a key that was lost', 'buy', 'k', 'lost', 'unavailable', 2],
  ['a command without a key that was lost', 'buy', undefined, 'lost', 'unavailable', 1],
  ['a command that did not leave', 'buy', undefined, 'unsent', 'unavailable', 2],
  ['a query whose callee says that it is unavailable', 'look', undefined, 'reply', 'unavailable', 2],
  ['a command with a key whose callee says that it is unavailable', 'buy', 'k', 'reply', 'unavailable', 2],
  ['a command without a key whose callee says that it is unavailable', 'buy', undefined, 'reply', 'unavailable', 1],
  ['a query that was answered with a fault', 'look', undefined, 'reply', 'conflict', 1],
] as const) {
  test(`${what} is made ${tries === 1 ? 'once' : 'again, elsewhere and at once'}`, async (t) => {
    const rig = new ReplicaRig(t);
    const [a, b] = await rig.open('a', 'b');
    a!.answer = failing(origin, code);
    b!.answer = echo;
    let outcome: unknown;
    void outcomeOf(rig.stub[method]({ n: 7 }, call(key === undefined ? {} : { idempotencyKey: key }))).then((found) => (outcome = found));
    // A pause would take a timer.
    for (let turns = 0; turns < 5; turns++) await turn();
    assert.deepEqual(outcome, tries === 1 ? `${code}/scripted ${origin}` : { n: 7 });
    assert.equal(a!.sent.length + b!.sent.length, tries);
    assert.equal(rig.edge.figures().retried, tries - 1);
    if (tries > 1) assert.deepEqual([a!.sent[0]!.call.id, a!.sent[0]!.call.idempotencyKey], [b!.sent[0]!.call.id, key]);
  });
}

test('with nobody else there a call is made again after a pause, three times in all', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  const began = performance.now();
  assert.equal(await outcomeOf(rig.stub.look({ n: 1 }, call())), 'unavailable/scripted lost');
  assert.equal(a!.sent.length, 3);
  assert.ok(performance.now() - began >= 25, 'pauses of 10 and 20 ms at least');
});

test('that the last try did not leave says nothing of the tries before', async (t) => {
  const rig = new ReplicaRig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.answer = failing('lost');
  b!.answer = failing('unsent');
  assert.match(String(await outcomeOf(rig.stub.look({ n: 1 }, call()))), /lost$/);
});

test('a pause that would outlast the deadline is not begun', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('unsent');
  assert.equal(await outcomeOf(rig.stub.look({ n: 1 }, call({ deadline: Date.now() + 9 }))), 'unavailable/scripted unsent');
});
