import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { Fault } from '../../../src/kernel/fault.ts';
import { Target } from '../../../src/fabric/target.ts';
import { call, echo, introduction, outcomeOf, ReplicaRig, shop, turn } from '../../support/replica-rig.ts';

test('while a module starts one of those who wait asks every 100 ms; once it answers, the others follow faster and faster, up to a limit', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  const target = new Target(shop);
  a!.answer = (_call, reply) => reply.fail(target.notRunning());
  const answers = Array.from({ length: 500 }, (_, n) => outcomeOf(rig.stub.buy({ n }, call())));
  await turn();
  assert.equal(a!.sent.length, 500);
  for (let asked = 1; asked <= 10; asked++) {
    t.mock.timers.tick(100);
    await turn();
    assert.equal(a!.sent.length, 500 + asked);
  }
  a!.answer = undefined;
  t.mock.timers.tick(100);
  const rounds: number[] = [];
  for (let done = 510; done < a!.sent.length; ) {
    const round = a!.sent.slice(done);
    rounds.push(round.length);
    done = a!.sent.length;
    for (const sent of round) sent.succeed(sent.call.request);
    await turn();
  }
  assert.deepEqual(rounds, [1, 2, 4, 8, 16, 32, 64, 65, 65, 65, 65, 65, 48]);
  assert.deepEqual(await Promise.all(answers), Array.from({ length: 500 }, (_, n) => ({ n })));
});

test('whoever waits for a module to start is told in time that it does not run', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  const target = new Target(shop);
  a!.answer = (_call, reply) => reply.fail(target.notRunning());
  const deadline = Date.now() + 400;
  const outcomes = await Promise.all(Array.from({ length: 20 }, (_, n) => outcomeOf(rig.stub.buy({ n }, call({ deadline })))));
  assert.deepEqual(new Set(outcomes), new Set(['unavailable/not_running unsent']));
  assert.ok(a!.sent.length < 30, `${a!.sent.length} requests`);
});

test('a callee that was there a moment ago is waited for', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  rig.nowMs += 3_600_000;
  a!.become('connecting', 'a is away.');
  const answer = rig.stub.buy({ n: 3 }, call());
  await turn();
  assert.equal(a!.sent.length, 0);
  a!.answer = echo;
  a!.open(introduction('a, again'));
  assert.deepEqual(await answer, { n: 3 });
});

test('a callee that left the list a moment ago is waited for as well', async (t) => {
  const rig = new ReplicaRig(t);
  await rig.open('a');
  const early = rig.stub.look({ n: 2 }, call());
  rig.nowMs += 3_600_000;
  rig.replicas.update([]);
  const answer = rig.stub.buy({ n: 3 }, call());
  rig.replicas.update(['b']);
  rig.link('b').answer = echo;
  rig.link('b').open(introduction('b'));
  assert.deepEqual(await answer, { n: 3 });
  rig.link('a').sent[0]!.succeed({ n: 2 });
  await early;
});

test('waiting for a callee ends at the deadline, unsent, and leaves nothing behind', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.become('connecting', 'a is away.');
  const stop = new AbortController();
  assert.equal(await outcomeOf(rig.stub.buy({ n: 3 }, call({ deadline: Date.now() + 30, signal: stop.signal }))), 'deadline/deadline unsent');
  assert.equal(getEventListeners(stop.signal, 'abort').length, 0);
  a!.answer = echo;
  a!.open(introduction('a'));
  await turn();
  assert.equal(a!.sent.length, 0);
});

test('no more calls wait for a callee than there is room for', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.become('connecting', 'a is away.');
  const answers = Array.from({ length: 5_000 }, (_, n) => outcomeOf(rig.stub.look({ n }, call())));
  assert.equal(await answers.at(-1), 'unavailable/not_connected unsent');
  a!.answer = echo;
  a!.open(introduction('a'));
  const outcomes = await Promise.all(answers);
  assert.deepEqual([outcomes.filter((one) => typeof one === 'object').length, outcomes.filter((one) => typeof one === 'string').length], [4_096, 904]);
});

test('a callee that has been away for long is not waited for, and its fault says why', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.become('connecting', 'a is away.');
  rig.nowMs += 10_001;
  const thrown = (await rig.stub.look({ n: 3 }, call()).catch((e: unknown) => e)) as Fault;
  assert.deepEqual([thrown.code, thrown.reason, thrown.origin], ['unavailable', 'not_connected', 'unsent']);
  assert.match(thrown.message, /Host shop .*a is away/);
});
