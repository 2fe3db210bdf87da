import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deadlineFault } from '../../../src/kernel/call.ts';
import { call, echo, failing, fault, outcomeOf, ReplicaRig, REST_MS, WARM_MS } from '../../support/replica-rig.ts';

test('a replica whose calls fail too often is left alone, alone, then tried with one call', async (t) => {
  const rig = new ReplicaRig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.answer = failing('lost');
  b!.answer = echo;
  const state = (): string => rig.replicas.states()[0]!.state;
  for (let n = 0; state() === 'open'; n++) {
    assert.ok(n < 60, 'the breaker never opened');
    assert.deepEqual(await rig.stub.look({ n }, call()), { n }, 'every call was answered elsewhere');
  }
  assert.deepEqual(rig.replicas.states().map((one) => one.state), ['resting', 'open']);
  const before = a!.sent.length;
  assert.ok(before >= 10, 'nothing is concluded from fewer');
  for (let n = 0; n < 20; n++) await rig.stub.look({ n }, call());
  assert.equal(a!.sent.length, before);
  rig.nowMs += REST_MS + 1;
  a!.answer = undefined;
  const calls = Array.from({ length: 10 }, (_, n) => rig.stub.look({ n }, call()));
  assert.equal(a!.sent.length, before + 1, 'one trial call at a time');
  a!.sent.at(-1)!.succeed({ n: 0 });
  await Promise.all(calls);
  assert.equal(state(), 'open');
  rig.nowMs += WARM_MS;
  a!.answer = echo;
  for (let n = 0; n < 10; n++) await rig.stub.look({ n }, call());
  assert.equal(a!.sent.length, before + 6);
});

test('each trial that fails doubles the rest', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  const state = (): string => rig.replicas.states()[0]!.state;
  while (state() === 'open') await outcomeOf(rig.stub.buy({ n: 1 }, call()));
  rig.nowMs += REST_MS + 1;
  assert.equal(await outcomeOf(rig.stub.buy({ n: 1 }, call())), 'unavailable/scripted lost');
  rig.nowMs += REST_MS + 1;
  assert.equal(state(), 'resting');
  assert.equal(await outcomeOf(rig.stub.buy({ n: 1 }, call())), 'unavailable/resting unsent');
  rig.nowMs += REST_MS;
  assert.equal(state(), 'open');
});

test('a trial call that waits for long on purpose keeps the others away for one rest, not until its answer', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  const state = (): string => rig.replicas.states()[0]!.state;
  while (state() === 'open') await outcomeOf(rig.stub.buy({ n: 1 }, call()));
  rig.nowMs += REST_MS + 1;
  a!.answer = undefined;
  const long = rig.stub.look({ n: 1 }, call());
  assert.equal(await outcomeOf(rig.stub.buy({ n: 2 }, call())), 'unavailable/resting unsent');
  rig.nowMs += REST_MS + 1;
  a!.answer = echo;
  assert.deepEqual(await outcomeOf(rig.stub.buy({ n: 3 }, call())), { n: 3 });
  assert.equal(state(), 'open');
  a!.sent.at(-2)!.succeed({ n: 1 });
  assert.deepEqual(await long, { n: 1 });
});

test('calls that began before a rest neither end nor prolong it', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  const early = Array.from({ length: 30 }, (_, n) => outcomeOf(rig.stub.buy({ n }, call())));
  const sent = [...a!.sent];
  const state = (): string => rig.replicas.states()[0]!.state;
  let at = 0;
  while (state() === 'open') sent[at++]!.fail(fault('lost'));
  sent[at++]!.succeed({ n: 1 });
  assert.equal(state(), 'resting');
  while (at < sent.length) sent[at++]!.fail(fault('lost'));
  rig.nowMs += REST_MS + 1;
  assert.equal(state(), 'open', 'the rest was not prolonged');
  await Promise.all(early);
});

test('answers that are faults, and calls that were let go or cannot cross, do not speak against a replica', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  for (const answer of [failing('unsent', 'invalid'), failing('reply', 'conflict')]) {
    a!.answer = answer;
    for (let n = 0; n < 20; n++) await outcomeOf(rig.stub.look({ n }, call()));
  }
  a!.answer = undefined;
  for (let n = 0; n < 20; n++) {
    const stop = new AbortController();
    const answer = outcomeOf(rig.stub.look({ n }, call({ signal: stop.signal })));
    stop.abort();
    assert.equal(await answer, 'cancelled/cancelled lost');
  }
  assert.equal(rig.replicas.states()[0]!.state, 'open');
});

test('calls of one contract that fail too often leave those of another one alone', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.answer = ({ contract, request }, reply) => (contract === 'bell' ? reply.succeed(request) : reply.fail(fault('lost')));
  while (rig.replicas.states()[0]!.state === 'open') await outcomeOf(rig.stub.buy({ n: 1 }, call()));
  assert.equal(await outcomeOf(rig.stub.buy({ n: 1 }, call())), 'unavailable/resting unsent');
  assert.deepEqual(await rig.bell.ring({ n: 2 }, call()), { n: 2 });
  assert.match(rig.replicas.states()[0]!.problem!, /shop/);
  assert.doesNotMatch(rig.replicas.states()[0]!.problem!, /bell/);
});

test('a call that is long on purpose is not the trial of a contract that rested', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  while (rig.replicas.states()[0]!.state === 'open') await outcomeOf(rig.bell.ring({ n: 1 }, call()));
  rig.nowMs += REST_MS + 1;
  a!.answer = undefined;
  const long = rig.bell.listen({ n: 1 }, call());
  a!.answer = echo;
  assert.deepEqual(await outcomeOf(rig.bell.ring({ n: 2 }, call())), { n: 2 });
  const { timed } = rig.edge.totals();
  a!.sent.at(-2)!.succeed({ n: 1 });
  assert.deepEqual(await long, { n: 1 });
  assert.equal(rig.edge.totals().timed, timed, 'its time says nothing of how fast the callee is');
});

test('a fault that the callee passes on speaks for neither another try nor against the callee', async (t) => {
  for (const origin of ['reply', 'lost'] as const) {
    const rig = new ReplicaRig(t);
    const [a] = await rig.open('a');
    a!.answer = (_call, reply) => reply.fail(fault(origin).with({ spent: true }));
    for (let n = 0; n < 40; n++) assert.equal(await outcomeOf(rig.stub.look({ n }, call())), `unavailable/scripted ${origin}`);
    assert.equal(a!.sent.length, 40);
    assert.equal(rig.replicas.states()[0]!.state, 'open');
  }
});

test('that a callee ran out of time over something of its own is an answer', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.answer = (_call, reply) => reply.fail(deadlineFault());
  for (let n = 0; n < 40; n++) assert.equal(await outcomeOf(rig.stub.buy({ n }, call())), 'deadline/deadline lost');
  assert.equal(rig.replicas.states()[0]!.state, 'open');
});
