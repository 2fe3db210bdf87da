import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { deadlines } from '../../../src/kernel/deadline.ts';
import { call, echo, fault, outcomeOf, ReplicaRig, turn } from '../../support/replica-rig.ts';

test('a replica that leaves the list answers what is under way, gets nothing new, and is closed', async (t) => {
  const rig = new ReplicaRig(t);
  const [a, b] = await rig.open('a', 'b');
  b!.answer = echo;
  a!.answer = undefined;
  const calls = [rig.stub.look({ n: 0 }, call()), rig.stub.look({ n: 1 }, call())];
  assert.equal(a!.sent.length, 1);
  rig.replicas.update(['b']);
  assert.deepEqual(rig.replicas.states().map(({ address, state, pending }) => [address, state, pending]), [['b', 'open', 1], ['a', 'leaving', 1]]);
  for (let n = 0; n < 5; n++) await rig.stub.look({ n }, call());
  assert.deepEqual([a!.sent.length, a!.stoppedWithin], [1, undefined]);
  a!.sent[0]!.succeed({ n: 0 });
  await Promise.all(calls);
  await turn();
  assert.equal(a!.stoppedWithin, 0);
  assert.deepEqual(rig.replicas.states().map(({ address }) => address), ['b']);
});

test('each process has a number of its own, which the next one may have when it has gone', async (t) => {
  const rig = new ReplicaRig(t);
  const numbers = () => rig.replicas.states().map(({ address, number }) => `${address}${number}`).join(' ');
  const [a] = await rig.open('a', 'b');
  assert.equal(numbers(), 'a1 b2');
  a!.answer = undefined;
  const under = rig.stub.look({ n: 0 }, call());
  await rig.open('b', 'c');
  assert.equal(numbers(), 'b2 c3 a1', 'while one leaves its number is taken');
  a!.sent[0]!.succeed({ n: 0 });
  await under;
  await turn();
  await rig.open('b', 'c', 'd');
  assert.equal(numbers(), 'b2 c3 d1');
});

test('an address that comes back while it leaves is a new replica, and both are closed in the end', async (t) => {
  const rig = new ReplicaRig(t);
  await rig.open('a');
  const answer = outcomeOf(rig.stub.look({ n: 0 }, call()));
  rig.replicas.update([]);
  rig.replicas.update(['a']);
  rig.replicas.update([]);
  assert.equal(rig.made.length, 2);
  await rig.replicas.stop(5);
  rig.made[0]!.sent[0]!.fail(fault('lost'));
  assert.equal(await answer, 'unavailable/not_connected lost');
  assert.deepEqual(rig.made.map(({ stoppedWithin }) => stoppedWithin !== undefined), [true, true]);
});

test('calls under way and calls that wait leave no listener, timer or deadline behind', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  const stop = new AbortController();
  const answers = Array.from({ length: 100 }, (_, n) => outcomeOf(rig.stub.look({ n }, call({ signal: stop.signal }))));
  assert.equal(deadlines.size, 100);
  for (const [n, sent] of a!.sent.entries()) if (n % 2 === 0) sent.succeed({ n });
  a!.become('connecting', 'It restarts.');
  answers.push(...Array.from({ length: 50 }, (_, n) => outcomeOf(rig.stub.look({ n }, call({ signal: stop.signal })))));
  stop.abort();
  const outcomes = await Promise.all(answers);
  assert.deepEqual([outcomes.filter((one) => one === 'cancelled/cancelled lost').length, outcomes.filter((one) => one === 'cancelled/cancelled unsent').length], [50, 50]);
  assert.deepEqual([deadlines.size, getEventListeners(stop.signal, 'abort').length, rig.replicas.states()[0]!.pending], [0, 0, 0]);
  assert.equal(a!.sent.filter(({ cancelled }) => cancelled).length, 50);
});

test('stopping ends calls that wait and closes every connection within the deadline', async (t) => {
  const rig = new ReplicaRig(t);
  const [a] = await rig.open('a');
  a!.become('connecting', 'a is away.');
  const answer = outcomeOf(rig.stub.look({ n: 1 }, call()));
  await rig.replicas.stop(123);
  assert.equal(await answer, 'unavailable/not_connected unsent');
  assert.equal(a!.stoppedWithin, 123);
  rig.replicas.update(['b']);
  assert.equal(rig.made.length, 1);
});
