import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { command, query, schemasOf } from '../../../src/kernel/contract.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { call, echo, introduction, N, ReplicaRig, shop, turn } from '../../support/replica-rig.ts';

test('processes with another hash are called when their contract fits, and refused by name and field when not', async (t) => {
  const rig = new ReplicaRig(t);
  const more = z.object({ n: z.int(), coupon: z.string().optional() });
  const needed = z.object({ n: z.int(), coupon: z.string() });
  const offerOf = (input: z.ZodType): object => schemasOf({ look: query({ input, output: N, timeoutMs: 1 }), buy: command({ input: N, output: N, timeoutMs: 1 }) });
  rig.replicas.update(['fits', 'misfits']);
  for (const [address, input] of [['fits', more], ['misfits', needed]] as const) {
    rig.link(address).offers = [{ name: 'shop', hash: `hash of ${address}`, operations: offerOf(input) as never }];
    rig.link(address).answer = echo;
    rig.link(address).open(introduction(address, `hash of ${address}`));
  }
  await turn();
  for (let n = 0; n < 6; n++) await rig.stub.look({ n }, call());
  assert.deepEqual([rig.link('fits').sent.length, rig.link('misfits').sent.length], [6, 0]);
  assert.match(rig.replicas.states()[1]!.problem!, /shop on host shop does not fit: look wants field coupon/);
  rig.replicas.update(['misfits']);
  const thrown = (await rig.stub.look({ n: 1 }, call()).catch((e: unknown) => e)) as Fault;
  assert.deepEqual([thrown.code, thrown.reason, thrown.origin], ['unavailable', 'incompatible', 'unsent']);
  assert.match(thrown.message, /coupon/);
  rig.link('misfits').become('connecting', 'It restarts.');
  rig.link('misfits').open(introduction('after the update'));
  await turn();
  assert.deepEqual(await rig.stub.look({ n: 1 }, call()), { n: 1 });
});

test('while one replica is incompatible and the other one restarts, calls wait', async (t) => {
  const rig = new ReplicaRig(t);
  const [a, b] = await rig.open('a', 'b');
  a!.become('connecting', 'It restarts.');
  a!.offers = [{ name: 'shop', hash: 'other', operations: {} }];
  a!.open(introduction('a, updated', 'other'));
  await turn();
  b!.become('connecting', 'It restarts.');
  const answer = rig.stub.look({ n: 4 }, call());
  await turn();
  b!.answer = echo;
  b!.open(introduction('b'));
  assert.deepEqual(await answer, { n: 4 });
});

test('whoever answers under another name, or does not serve the contract, is not called', async (t) => {
  for (const [peer, words] of [[introduction('x', shop.hash, 'mailer'), /host mailer answers there, shop was expected/], [{ host: 'shop', process: 'x', contracts: {} }, /host shop does not serve shop/]] as const) {
    const rig = new ReplicaRig(t);
    rig.replicas.update(['a']);
    rig.link('a').open(peer);
    await turn();
    const thrown = (await rig.stub.look({ n: 1 }, call()).catch((e: unknown) => e)) as Fault;
    assert.deepEqual([thrown.reason, thrown.origin, rig.link('a').sent.length], ['incompatible', 'unsent', 0]);
    assert.match(thrown.message, words);
  }
});

test('a process that could not say what it serves is asked again while it stays connected', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const rig = new ReplicaRig(t);
  rig.replicas.update(['a']);
  const link = rig.link('a');
  link.offers = new Fault('deadline', 'Too slow.', { origin: 'lost' });
  link.open(introduction('a', 'other'));
  await turn();
  assert.equal(rig.replicas.ready, false);
  link.offers = [{ name: 'shop', hash: 'other', operations: schemasOf(shop.operations) as never }];
  t.mock.timers.tick(1_000);
  await turn();
  assert.deepEqual([rig.replicas.ready, link.described], [true, 2]);
});
