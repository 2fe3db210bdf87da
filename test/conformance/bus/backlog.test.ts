import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arrivals, isEmpty, messageTo, onEachBus, purgeAll, queueOf, stateOf, untilQueue } from '../../support/buses.ts';
import { heldMb } from '../../support/held-memory.ts';

const PAYLOAD = JSON.stringify('x'.repeat(200));

onEachBus('backlog', (under) => {
  test('memory, looking and taking do not grow with the length of the queue', async (t) => {
    // The same engine, behind a link or a broker that takes its time.
    const backlog = under.driver === 'embedded' ? 100_000 : 30_000;
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { ordered: true }));
    await bus.declare(queueOf('idle'));
    await bus.publish([messageTo('q')]);
    const before = await heldMb();
    for (let sent = 0; sent < backlog; sent += 2_000) {
      await bus.publish(Array.from({ length: 2_000 }, (_, i) => messageTo('q', { workspace: `w${i % 50}`, key: `k${i % 100}`, payload: PAYLOAD, ...(i % 10 === 0 ? { notBefore: Date.now() + 3_600_000 } : {}) })));
    }
    const published = (await heldMb()) - before;
    assert.ok(published < 60, `${published} MB more`);
    const state = await stateOf(bus, 'q');
    assert.deepEqual([state.ready.normal, state.waiting], [backlog * 0.9 + 1, backlog * 0.1]);
    assert.ok((await msOf(() => bus.inspect())) < 20);
    assert.ok((await msOf(() => bus.browse('q', { dead: false, limit: 50 }))) < 100);
    assert.ok((await msOf(() => bus.browse('q', { dead: false, limit: 50, filter: { name: 'suite.none' } }))) < 100);
    const arrivals = new Arrivals();
    const consumer = await bus.consume('q', { concurrency: 10 }, arrivals.handler);
    assert.ok((await msOf(() => arrivals.count(10))) < 100);
    await consumer.stop(1_000);
    const taken = (await heldMb()) - before;
    assert.ok(taken < 60, `${taken} MB more`);
    await purgeAll(bus, 'q', { dead: false });
    await untilQueue(bus, 'q', isEmpty);
  });
});

/** CPU time of this thread, so that a busy machine does not count. */
async function msOf(work: () => Promise<unknown>): Promise<number> {
  const before = process.threadCpuUsage();
  await work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}
