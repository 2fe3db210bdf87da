import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bindRelayed } from '../../../src/fabric/remote.ts';
import { Target } from '../../../src/fabric/target.ts';
import { bell, call, echo, failing, fault, introduction, outcomeOf, ReplicaRig, TAP_MS, turn } from '../../support/replica-rig.ts';

/** Well beyond what the operation may take once it is sent. */
const RESTART_MS = 3 * TAP_MS;
/** For a machine that does other things too. */
const SLACK_MS = 1_000;

const restart = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, RESTART_MS));

async function timed(ask: () => Promise<unknown>): Promise<{ outcome: unknown; ms: number }> {
  const began = performance.now();
  return { outcome: await outcomeOf(ask()), ms: performance.now() - began };
}

test('a callee that stopped in order is waited for beyond what the operation may take, and the call is answered once it is back', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.leave();
  const answer = outcomeOf(rig.bell.tap({ n: 1 }, call()));
  await restart();
  assert.equal(a!.sent.length, 0);
  a!.answer = echo;
  a!.open(introduction('a, again'));
  assert.deepEqual(await answer, { n: 1 });
});

test('what the operation may take begins when the call is sent, not while its callee was being started', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.leave();
  const answer = rig.bell.tap({ n: 1 }, call());
  await restart();
  const opened = Date.now();
  a!.open(introduction('a, again'));
  await turn();
  assert.ok(a!.sent[0]!.call.deadline >= opened + TAP_MS);
  assert.ok(a!.sent[0]!.call.deadline <= Date.now() + TAP_MS);
  const { outcome, ms } = await timed(() => answer);
  assert.equal(outcome, 'deadline/deadline lost');
  assert.ok(ms < TAP_MS + SLACK_MS, `${ms} ms`);
});

test('a callee that stopped in order and does not come back is waited for until the deadline of the caller', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.leave();
  const { outcome, ms } = await timed(() => rig.bell.tap({ n: 1 }, call({ deadline: Date.now() + RESTART_MS })));
  assert.equal(outcome, 'deadline/deadline unsent');
  assert.ok(ms >= RESTART_MS - 1 && ms < RESTART_MS + SLACK_MS, `${ms} ms`);
});

test('a callee that stopped in order long ago is waited for no longer', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.leave();
  const early = Array.from({ length: 30 }, (_, n) => timed(() => rig.bell.tap({ n }, call())));
  rig.nowMs += 30_001;
  assert.equal(await outcomeOf(rig.bell.tap({ n: 1 }, call())), 'unavailable/not_connected unsent');
  for (const { outcome, ms } of await Promise.all(early)) {
    assert.match(String(outcome), /^(unavailable\/not_connected|deadline\/deadline) unsent$/);
    assert.ok(ms < TAP_MS + SLACK_MS, `${ms} ms`);
  }
});

for (const [what, before] of [
  ['that was killed', []],
  ['that was killed after it had been started again in order', ['leave']],
] as const) {
  test(`a callee ${what} is waited for no longer than the operation may take`, async (t) => {
    const rig = new ReplicaRig(t);
    const [a] = await rig.open('a');
    for (const step of before) {
      a![step]();
      a!.open(introduction('a, again'));
    }
    a!.break();
    const { outcome, ms } = await timed(() => rig.bell.tap({ n: 1 }, call()));
    assert.equal(outcome, 'deadline/deadline unsent');
    assert.ok(ms < TAP_MS + SLACK_MS, `${ms} ms`);
  });
}

test('the last process of a host that went decides whether somebody is expected back', async (t) => {
  const rig = new ReplicaRig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.break();
  b!.leave();
  const answer = outcomeOf(rig.bell.tap({ n: 1 }, call()));
  await restart();
  b!.answer = echo;
  b!.open(introduction('b, again'));
  assert.deepEqual(await answer, { n: 1 });
});

test('a callee that took itself off the list while it was connected has left in order', async (t) => {
  const rig = new ReplicaRig(t);
  await rig.open('a');
  rig.replicas.update([]);
  const answer = outcomeOf(rig.bell.tap({ n: 1 }, call()));
  await restart();
  rig.replicas.update(['b']);
  rig.link('b').answer = echo;
  rig.link('b').open(introduction('b'));
  assert.deepEqual(await answer, { n: 1 });
});

test('a callee whose module has not started is waited for until the deadline of the caller, and then has its full time', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  const target = new Target(bell);
  a!.answer = (_call, reply) => reply.fail(target.notRunning());
  const answers = Array.from({ length: 20 }, (_, n) => outcomeOf(rig.bell.tap({ n }, call())));
  await restart();
  const leftMs: number[] = [];
  a!.answer = (asked, reply) => {
    leftMs.push(asked.deadline - Date.now());
    reply.succeed(asked.request);
  };
  assert.deepEqual(await Promise.all(answers), Array.from({ length: 20 }, (_, n) => ({ n })));
  assert.ok(Math.min(...leftMs) > TAP_MS / 2, `${Math.min(...leftMs)} ms left`);
});

for (const reason of ['stopping', 'not_connected']) {
  test(`calls that a callee refuses as ${reason}, before its link knows that it stops, wait for it like all others`, async (t) => {
    const rig = new ReplicaRig(t);
    const [a] = await rig.open('a');
    rig.nowMs += 3_600_000;
    a!.answer = (_call, reply) => reply.fail(fault('unsent', 'unavailable', reason));
    const answers = Array.from({ length: 50 }, (_, n) => outcomeOf(rig.bell.tap({ n }, call())));
    await new Promise((resolve) => setTimeout(resolve, TAP_MS * 0.9));
    a!.leave();
    const sent = a!.sent.length;
    await restart();
    assert.equal(a!.sent.length, sent);
    a!.answer = echo;
    a!.open(introduction('a, again'));
    assert.deepEqual(await Promise.all(answers), Array.from({ length: 50 }, (_, n) => ({ n })));
  });
}

test('calls that failed while a callee went do not keep those away that wait for it to come back', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.answer = failing('lost');
  while (rig.replicas.states()[0]!.state === 'open') await outcomeOf(rig.stub.buy({ n: 1 }, call()));
  a!.leave();
  const answer = outcomeOf(rig.stub.buy({ n: 1 }, call()));
  await turn();
  a!.answer = echo;
  a!.open(introduction('a, again'));
  assert.deepEqual(await answer, { n: 1 });
});

test('no more calls wait for a callee that is being started than there is room for', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.leave();
  const answers = Array.from({ length: 5_000 }, (_, n) => outcomeOf(rig.bell.tap({ n }, call())));
  assert.equal(await answers.at(-1), 'unavailable/not_connected unsent');
  await restart();
  a!.answer = echo;
  a!.open(introduction('a, again'));
  const outcomes = await Promise.all(answers);
  assert.deepEqual([outcomes.filter((one) => typeof one === 'object').length, outcomes.filter((one) => typeof one === 'string').length], [4_096, 904]);
});

test('a call that is only passed on has its time counted by whoever passes it on', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  const made = call();
  const answer = bindRelayed(bell, rig.replicas, rig.edge).tap({ n: 1 }, made);
  assert.equal(a!.sent[0]!.call.deadline, made.deadline);
  await restart();
  a!.sent[0]!.succeed({ n: 1 });
  assert.deepEqual(await answer, { n: 1 });
});

test('calls that waited are sent to a callee that is back as fast as it answers, not all at once', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.leave();
  const answers = Array.from({ length: 500 }, (_, n) => outcomeOf(rig.stub.look({ n }, call())));
  a!.open(introduction('a, again'));
  await turn();
  let most = 0;
  for (let done = 0; done < 500; ) {
    const round = a!.sent.slice(done);
    most = Math.max(most, round.length);
    done = a!.sent.length;
    for (const sent of round) sent.succeed(sent.call.request);
    await turn();
  }
  assert.ok(most < 70, `${most} at once`);
  assert.deepEqual(await Promise.all(answers), Array.from({ length: 500 }, (_, n) => ({ n })));
});
