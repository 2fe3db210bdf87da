import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import type { Handler } from '../../src/ports/bus.ts';
import { ANY_PORT, caller, keeper, onEachTransport, place } from '../support/bus-hosts.ts';
import type { LinkChildPlan } from '../support/bus-link-child.ts';
import { Consuming } from '../support/bus-link-consumer.ts';
import { Arrivals, createBus, isEmpty, messageTo, queueOf, stateOf, untilQueue, within } from '../support/buses.ts';
import { heldMb } from '../support/held-memory.ts';
import { ServedBus } from '../support/linked-bus.ts';

onEachTransport('consumers of the embedded bus in other processes', (transport) => {
  test('a consumer that is killed: its messages go to another one within seconds', async (t) => {
    const served = await keeper(t, place(t), transport);
    await served.bus.declare(queueOf('q'));
    const plan: LinkChildPlan = { at: served.at, transport, concurrency: 5, handleMs: 60_000 };
    const first = new Consuming(t, plan);
    await served.bus.publish(Array.from({ length: 5 }, (_, i) => messageTo('q', { id: `m${i}` })));
    await first.until(() => first.told.length === 5, 60_000);
    first.child.kill('SIGKILL');
    await first.ended;
    const second = await caller(t, served.port, transport);
    const arrivals = new Arrivals();
    await second.consume('q', { concurrency: 5 }, arrivals.handler);
    await arrivals.count(5, 60_000);
    assert.deepEqual(arrivals.ids.toSorted(), ['m0', 'm1', 'm2', 'm3', 'm4']);
    assert.deepEqual(arrivals.messages.map(({ attempt }) => attempt), [2, 2, 2, 2, 2]);
    await untilQueue(served.bus, 'q', isEmpty);
  });

  test('a message that kills its consumer ends in the error queue, and takes no neighbour along', async (t) => {
    const at = place(t);
    const served = new ServedBus(createBus('embedded', at), at, ANY_PORT, transport, 300);
    t.after(() => served.stop(1_000));
    await served.start();
    await served.bus.declare(queueOf('q', { attempts: 3 }));
    const good = Array.from({ length: 12 }, (_, i) => messageTo('q', { id: `good${i}` }));
    await served.bus.publish([...good.slice(0, 3), messageTo('q', { id: 'poison', name: 'suite.poison' }), ...good.slice(3)]);
    const tries: number[] = [];
    const done: string[] = [];
    for (let run = 0; run < 3; run++) {
      const child = new Consuming(t, { at: served.at, transport, concurrency: 4, handleMs: 5 });
      await within(60_000, child.ended, () => 'the poison did not come');
      tries.push(...child.told.filter(({ id, kind }) => id === 'poison' && kind === 'begin').map(({ attempt }) => attempt));
      done.push(...child.ids('end'));
    }
    await untilQueue(served.bus, 'q', ({ dead }) => dead === 1);
    const last = new Consuming(t, { at: served.at, transport, concurrency: 4, handleMs: 5 });
    await untilQueue(served.bus, 'q', isEmpty);
    const { messages } = await served.bus.browse('q', { dead: true, limit: 10 });
    assert.deepEqual([messages.map(({ id }) => id), tries], [['poison'], [1, 2, 3]]);
    assert.match(messages[0]!.reason!, /^interrupted/);
    assert.deepEqual([...new Set([...done, ...last.ids('end')])].toSorted(), good.map(({ id }) => id).toSorted());
  });

  test('a consumer that is frozen for ten seconds: others go on, and so does it afterwards', async (t) => {
    const served = await keeper(t, place(t), transport);
    await served.bus.declare(queueOf('q'));
    const frozen = new Consuming(t, { at: served.at, transport, concurrency: 3, handleMs: 500 });
    await served.bus.publish(Array.from({ length: 3 }, (_, i) => messageTo('q', { id: `held${i}` })));
    await frozen.until(() => frozen.told.length === 3, 60_000);
    frozen.child.kill('SIGSTOP');
    const began = performance.now();
    const other = await caller(t, served.port, transport);
    const arrivals = new Arrivals();
    const consumer = await other.consume('q', { concurrency: 3 }, arrivals.handler);
    await served.bus.publish(Array.from({ length: 20 }, (_, i) => messageTo('q', { id: `new${i}` })));
    await within(10_000, (async () => { while (arrivals.ids.filter((id) => id.startsWith('new')).length < 20) await sleep(10); })(), () => `${arrivals.ids.length} came to the other one`);
    await sleep(Math.max(0, 10_000 - (performance.now() - began)));
    frozen.child.kill('SIGCONT');
    await untilQueue(served.bus, 'q', isEmpty);
    await consumer.stop(1_000);
    await served.bus.publish([messageTo('q', { id: 'again' })]);
    await frozen.until(() => frozen.ids('end').includes('again'), 60_000);
  });
}, { atOnce: true });

onEachTransport('a consumer of the embedded bus in another process', (transport) => {
  test('a slow consumer holds what it can handle at once, however much there is', async (t) => {
    const served = await keeper(t, place(t), transport);
    const bus = await caller(t, served.port, transport);
    await bus.declare(queueOf('q'));
    const gate = Promise.withResolvers<void>();
    const slow: Handler = async () => {
      await gate.promise;
      return { kind: 'done' };
    };
    const arrivals = new Arrivals(slow as never);
    await bus.consume('q', { concurrency: 8 }, arrivals.handler);
    const payload = JSON.stringify('x'.repeat(50_000));
    const before = await heldMb();
    for (let sent = 0; sent < 1_000; sent += 100) await bus.publish(Array.from({ length: 100 }, () => messageTo('q', { payload })));
    await arrivals.count(8);
    const { inFlight, ready } = await stateOf(bus, 'q');
    assert.deepEqual([arrivals.ids.length, inFlight, ready.normal], [8, 8, 992]);
    const more = (await heldMb()) - before;
    assert.ok(more < 10, `${more} MB more, of 50 MB that were published`);
    gate.resolve();
    await arrivals.count(1_000, 60_000);
    await untilQueue(served.bus, 'q', isEmpty);
  });
});
