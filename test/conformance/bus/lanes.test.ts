import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Lane } from '../../../src/kernel/message.ts';
import { Arrivals, isEmpty, messageTo, onEachBus, queueOf, stateOf, untilQueue } from '../../support/buses.ts';

onEachBus('lanes and fairness', (under) => {
  test('urgent goes before normal, normal before bulk, each in the order of publishing', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    const lanes: Lane[] = ['bulk', 'normal', 'urgent', 'bulk', 'urgent', 'normal'];
    await bus.publish(lanes.map((lane, i) => messageTo('q', { id: `${lane}${i}`, lane })));
    assert.deepEqual((await stateOf(bus, 'q')).ready, { urgent: 2, normal: 2, bulk: 2 });
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await arrivals.count(6);
    assert.deepEqual(arrivals.ids, ['urgent2', 'urgent4', 'normal1', 'normal5', 'bulk0', 'bulk3']);
  });

  test('an urgent message overtakes a backlog that is being worked off', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    await bus.publish(Array.from({ length: 1_000 }, () => messageTo('q', { lane: 'bulk' })));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 5 }, arrivals.handler);
    await arrivals.count(20);
    await bus.publish([messageTo('q', { id: 'storm', lane: 'urgent', workspace: 'w2' })]);
    await untilQueue(bus, 'q', isEmpty);
    assert.ok(arrivals.ids.indexOf('storm') < 250, `the urgent message was number ${arrivals.ids.indexOf('storm')}`);
  });

  for (const restarted of [false, true]) {
    test(`the long backlog of a workspace does not delay another's message${restarted ? ', after a restart too' : ''}`, async (t) => {
      const place = under.place(t);
      let bus = await under.open(t, place);
      await bus.declare(queueOf('q'));
      for (let i = 0; i < 3; i++) await bus.publish(Array.from({ length: 500 }, () => messageTo('q', { workspace: 'greedy' })));
      await bus.publish([messageTo('q', { id: 'b', workspace: 'small' }), messageTo('q', { id: 'c', workspace: null }), messageTo('q', { id: 'd', workspace: 'tiny' })]);
      if (restarted) {
        await bus.stop(1_000);
        bus = await under.open(t, place);
      }
      const arrivals = new Arrivals();
      await bus.consume('q', { concurrency: 4 }, arrivals.handler);
      await untilQueue(bus, 'q', isEmpty);
      for (const id of ['b', 'c', 'd']) assert.ok(arrivals.ids.indexOf(id) < 10, `${id} was number ${arrivals.ids.indexOf(id)}`);
      assert.equal(new Set(arrivals.ids).size, 1_503);
    });
  }

  test('workspaces share a lane evenly', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q'));
    for (const workspace of ['a', 'b', 'c']) await bus.publish(Array.from({ length: workspace === 'a' ? 600 : 100 }, () => messageTo('q', { workspace })));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 6 }, arrivals.handler);
    await untilQueue(bus, 'q', isEmpty);
    const early = arrivals.messages.slice(0, 240);
    for (const workspace of ['a', 'b', 'c']) {
      const share = early.filter((m) => m.workspace === workspace).length;
      assert.ok(share >= 70 && share <= 90, `${workspace} had ${share} of the first 240`);
    }
  });
});
