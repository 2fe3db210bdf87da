import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, echo, introduction, ReplicaRig, turn, WARM_MS } from '../../support/replica-rig.ts';

test('a call goes to the replica with the fewest under way', async (t) => {
  const rig = new ReplicaRig(t);
  const [a, b, c] = await rig.open('a', 'b', 'c');
  const calls = Array.from({ length: 9 }, (_, n) => rig.stub.look({ n }, call()));
  assert.deepEqual([a, b, c].map((link) => link!.sent.length), [3, 3, 3]);
  for (const sent of b!.sent) sent.succeed(sent.call.request);
  calls.push(...[9, 10, 11].map((n) => rig.stub.look({ n }, call())));
  assert.deepEqual([a, b, c].map((link) => link!.sent.length), [3, 6, 3]);
  for (const link of [a, b, c]) for (const sent of link!.sent) sent.succeed(sent.call.request);
  assert.deepEqual(await Promise.all(calls), Array.from({ length: 12 }, (_, n) => ({ n })));
});

test('calls one at a time go round', async (t) => {
  const rig = new ReplicaRig(t);
  const links = await rig.open('a', 'b', 'c');
  for (const link of links) link.answer = echo;
  for (let n = 0; n < 30; n++) await rig.stub.look({ n }, call());
  assert.deepEqual(links.map(({ sent }) => sent.length), [10, 10, 10]);
});

test('a replica that has just come gets a small share, and its full one after a while', async (t) => {
  const rig = new ReplicaRig(t);
  await rig.open('a');
  rig.replicas.update(['a', 'b']);
  rig.link('b').open(introduction('b'));
  await turn();
  const share = (): number => {
    const before = rig.link('b').sent.length;
    const calls = Array.from({ length: 40 }, (_, n) => rig.stub.look({ n }, call()));
    const got = rig.link('b').sent.length - before;
    for (const link of rig.links.values()) for (const sent of link.sent.splice(0)) sent.succeed(sent.call.request);
    void Promise.all(calls);
    return got;
  };
  assert.ok(share() <= 5, 'at first');
  rig.nowMs += WARM_MS / 2;
  const half = share();
  assert.ok(half > 8 && half < 18, `half way ${half}`);
  rig.nowMs += WARM_MS;
  assert.equal(share(), 20);
});
