import assert from 'node:assert/strict';
import { after, before, describe, test, type TestContext as Test } from 'node:test';
import { busDrivers } from '../../../../adapters/bus/catalog.ts';
import { keptColumns } from '../../../../src/app/backup/format.ts';
import { momentOf } from '../../../../src/app/backup/moment.ts';
import { OwnDesk } from '../../../../src/app/backup/own-desk.ts';
import { RestoreTarget } from '../../../../src/app/backup/restore-target.ts';
import { busSharing } from '../../../../src/app/host/bus-sharing.ts';
import { newId } from '../../../../src/kernel/ids.ts';
import type { Bus } from '../../../../src/ports/bus.ts';
import { ActiveMqServer } from '../../../support/activemq.ts';
import { Arrivals, isEmpty, messageTo, queueOf, sqliteAt, stateOf, untilQueue, within } from '../../../support/buses.ts';
import { testContext, type TestContext } from '../../../support/context.ts';
import { rejectsWith } from '../../../support/faults.ts';

let broker: ActiveMqServer;

/** Processes of one deployment, each with a data directory of its own. */
function deployment(t: Test, settings: object = {}): { host(place?: TestContext): Promise<Bus>; place(): TestContext } {
  const prefix = `keeper-${newId()}`;
  const place = (): TestContext => {
    const context = testContext();
    t.after(() => context.remove());
    return context;
  };
  return {
    place,
    async host(at = place()) {
      const { activemq } = busDrivers;
      const bus = activemq.create(activemq.settings.parse({ port: broker.port, prefix, heartbeatMs: 1_000, ...settings }), { ...at, openStorage: sqliteAt(at), sharing: busSharing(at) });
      t.after(() => bus.stop(1_000));
      await bus.start();
      return bus;
    },
  };
}

const later = { notBefore: Date.now() + 3_600_000 };

describe('the keeper of an activemq bus', () => {
  before(async () => void (broker = await ActiveMqServer.start()));
  after(() => broker.remove());

  test('on another host takes over everything from the log: messages, tries, waits, dead ones, pauses, order', async (t) => {
    const { host } = deployment(t);
    const first = await host();
    await first.declare(queueOf('q', { ordered: true, attempts: 3, backoff: { firstMs: 3_600_000, factor: 1, mostMs: 3_600_000, jitter: 0 }, topics: ['thing.happened'] }));
    await first.declare(queueOf('held'));
    await first.pause('held', 'w9');
    await first.publish([messageTo('q', { id: 'tried', key: 'a' }), messageTo('q', { id: 'behind', key: 'a' }), messageTo('q', { id: 'bad' }), messageTo('q', { id: 'good' })]);
    await first.publish([messageTo('q', { id: 'later', ...later }), messageTo('', { id: 'event', to: { topic: 'thing.happened' }, lane: 'urgent', notBefore: later.notBefore })]);
    await first.consume('q', { concurrency: 2 }, async ({ id }) => (id === 'tried' ? { kind: 'retry', reason: 'not yet' } : id === 'bad' ? { kind: 'dead', reason: 'never' } : { kind: 'done' }));
    await untilQueue(first, 'q', ({ waiting, dead, inFlight, ready }) => waiting === 3 && dead === 1 && inFlight === 0 && ready.normal === 1);
    const before = [await first.inspect(), await first.browse('q', { dead: false, limit: 10 }), await first.browse('q', { dead: true, limit: 10 })];
    await first.stop(2_000);
    const second = await host();
    const after = [await second.inspect(), await second.browse('q', { dead: false, limit: 10 }), await second.browse('q', { dead: true, limit: 10 })];
    const still = (states: unknown) => (states as Awaited<ReturnType<Bus['inspect']>>).map(({ name, ready, waiting, dead, pausedWorkspaces }) => ({ name, ready, waiting, dead, pausedWorkspaces }));
    assert.deepEqual(still(after[0]), still(before[0]));
    assert.deepEqual(after.slice(1), before.slice(1));
  });

  test('that ends is followed by a guest, who loses nothing and goes on consuming', async (t) => {
    const { host } = deployment(t);
    const keeper = await host();
    const guest = await host();
    await guest.declare(queueOf('q'));
    const arrivals = new Arrivals();
    await guest.consume('q', { concurrency: 3 }, arrivals.handler);
    await keeper.publish([messageTo('q', { id: 'before' })]);
    await arrivals.count(1);
    await guest.pause('q');
    await keeper.publish([messageTo('q', { id: 'meanwhile' })]);
    await keeper.stop(2_000);
    await within(20_000, published(guest, 'after'), () => 'the guest did not take over');
    await guest.resume('q');
    await arrivals.count(3, 20_000);
    assert.deepEqual(arrivals.ids.toSorted(), ['after', 'before', 'meanwhile']);
    assert.ok(isEmpty(await untilQueue(guest, 'q', isEmpty)));
  });

  test('back on its own host goes on without reading everything again, and elsewhere a copy that is behind counts for nothing', async (t) => {
    const { host, place } = deployment(t);
    const [here, there] = [place(), place()];
    const first = await host(here);
    await first.declare(queueOf('q'));
    await first.publish([messageTo('q', { id: 'a' })]);
    await first.stop(2_000);
    const again = await host(here);
    await again.publish([messageTo('q', { id: 'b' })]);
    await again.stop(2_000);
    const elsewhere = await host(there);
    await elsewhere.purge('q', { dead: false, filter: { ids: ['a'] } });
    await elsewhere.publish([messageTo('q', { id: 'c' })]);
    await elsewhere.stop(2_000);
    const back = await host(here);
    assert.deepEqual((await back.browse('q', { dead: false, limit: 10 })).messages.map(({ id }) => id), ['b', 'c']);
  });

  test('shortens the log while it goes on, and what is left of it makes the same messages', async (t) => {
    const { host, place } = deployment(t);
    const first = await host(place());
    await first.declare(queueOf('q'));
    const arrivals = new Arrivals();
    await first.consume('q', { concurrency: 50 }, arrivals.handler);
    const payload = JSON.stringify('x'.repeat(900_000));
    // Well beyond what a log may hold of messages that are gone.
    for (let at = 0; at < 120; at++) {
      await first.publish([messageTo('q', { payload }), ...(at % 10 === 0 ? [messageTo('q', { id: `stays${at}`, ...later })] : [])]);
    }
    await arrivals.count(120, 60_000);
    await untilQueue(first, 'q', ({ inFlight }) => inFlight === 0);
    await first.stop(5_000);
    const began = performance.now();
    const second = await host();
    t.diagnostic(`took over in ${Math.round(performance.now() - began)} ms`);
    assert.equal((await stateOf(second, 'q')).waiting, 12);
    assert.equal(arrivals.messages.length, 120);
  });

  test('can be followed by another after a call that published more than the broker gives out at once', async (t) => {
    const { host } = deployment(t);
    const first = await host();
    await first.declare(queueOf('q'));
    const payload = JSON.stringify('x'.repeat(1_000_000));
    await first.publish(Array.from({ length: 55 }, () => messageTo('q', { payload, ...later })));
    await first.stop(2_000);
    const second = await host();
    await within(30_000, published(second, 'after'), () => 'nobody took over');
    assert.equal((await stateOf(second, 'q')).waiting, 55);
  });

  test('makes the log anew where the messages are more than the broker has memory for', async (t) => {
    const { host } = deployment(t);
    const keeper = await host();
    await keeper.declare(queueOf('q'));
    const payload = JSON.stringify('x'.repeat(1_000_000));
    for (let at = 0; at < 85; at++) await keeper.publish([messageTo('q', { payload, ...later })]);
    assert.equal((await stateOf(keeper, 'q')).waiting, 85);
    assert.equal(keeper.problem, undefined);
  });
});

describe('an activemq bus whose broker fails', () => {
  before(async () => void (broker = await ActiveMqServer.start()));
  after(() => broker.remove());

  test('refuses while it is away, says so honestly, and goes on by itself when it is back: nothing accepted is lost', async (t) => {
    const { host } = deployment(t, { connectTimeoutMs: 500 });
    const bus = await host();
    await bus.declare(queueOf('q'));
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 5 }, arrivals.handler);
    const accepted: string[] = [];
    const publishing = (async () => {
      for (let at = 0; at < 400; at++) {
        const message = messageTo('q');
        await bus.publish([message]).then(
          () => accepted.push(message.id),
          (fault: { code: string; origin: string }) => {
            assert.equal(fault.code, 'unavailable');
            assert.ok(fault.origin === 'unsent' || fault.origin === 'lost');
          },
        );
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    await arrivals.count(20);
    await broker.kill();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await rejectsWith('unavailable', bus.publish([messageTo('q')]));
    await broker.up();
    await publishing;
    await within(20_000, published(bus, 'last'), () => 'the bus did not come back');
    await untilQueue(bus, 'q', isEmpty);
    const seen = new Set(arrivals.ids);
    assert.deepEqual(accepted.filter((id) => !seen.has(id)), []);
    assert.ok(accepted.length >= 20);
  });

  test('gives a backup all that was accepted before, also by way of a guest, and nothing while the broker may have another keeper', async (t) => {
    const { host, place } = deployment(t);
    const keeper = await host();
    const guest = await host();
    await keeper.declare(queueOf('q', { backoff: { firstMs: 3_600_000, factor: 1, mostMs: 3_600_000, jitter: 0 } }));
    await guest.publish([messageTo('q', { id: 'done' }), messageTo('q', { id: 'bad' }), messageTo('q', { id: 'tried' }), messageTo('q', { id: 'later', ...later })]);
    const handled = new Arrivals(({ id }) => (id === 'bad' ? { kind: 'dead', reason: 'never' } : id === 'tried' ? { kind: 'retry', reason: 'not yet' } : { kind: 'done' }));
    const consumer = await guest.consume('q', { concurrency: 3 }, handled.handler);
    await untilQueue(keeper, 'q', ({ waiting, dead, inFlight, ready }) => waiting === 2 && dead === 1 && inFlight === 0 && ready.normal === 0);
    await consumer.stop(1_000);
    const accepted: string[] = [];
    const { promise: underWay, resolve: isUnderWay } = Promise.withResolvers<void>();
    let isOn = true;
    const publishing = (async () => {
      for (let n = 0; isOn; n++) {
        await guest.publish([messageTo('q', { id: `m${n}`, workspace: `w${n % 3}` })]);
        if (accepted.push(`m${n}`) === 20) isUnderWay();
      }
    })();
    await underWay;
    const participants = [keeper, guest].map((bus, at) => ({ name: `host ${at}`, desk: new OwnDesk({ databases: new Map(), messages: () => bus.kept }) }));
    const before = [...accepted];
    const { sources, heldMs, close } = await momentOf({ participants: () => participants, expected: ['bus'] });
    t.diagnostic(`${before.length} messages accepted before, held back for ${heldMs} ms`);
    isOn = false;
    await publishing;

    const at = place();
    const source = sources[0]!;
    const embedded = busDrivers.embedded.create(busDrivers.embedded.settings.parse({}), { ...at, openStorage: sqliteAt(at) });
    await embedded.start();
    await embedded.stop(1_000);
    const storage = sqliteAt(at)('bus');
    await storage.start();
    const target = new RestoreTarget('bus', storage, null, source.migrations);
    await target.prepare();
    for (const { name, columns, numbered } of source.tables) {
      const insert = target.inserter({ database: 'bus', table: name, columns: keptColumns({ columns, numbered }) });
      for await (const lines of source.lines(name)) await insert(lines.map((line) => JSON.parse(line) as unknown[]));
    }
    await close();
    await storage.stop(1_000);
    const copy = busDrivers.embedded.create(busDrivers.embedded.settings.parse({}), { ...at, openStorage: sqliteAt(at) });
    t.after(() => copy.stop(1_000));
    await copy.start();
    const { ready, waiting, dead } = await stateOf(copy, 'q');
    assert.deepEqual([waiting, dead], [2, 1]);
    assert.ok(ready.normal >= before.length && ready.normal <= accepted.length);
    const again = new Arrivals();
    await copy.consume('q', { concurrency: 5 }, again.handler);
    await untilQueue(copy, 'q', (state) => state.ready.normal + state.inFlight === 0);
    assert.deepEqual(before.filter((id) => !again.ids.includes(id)), []);
    assert.ok(!again.ids.includes('done'));

    broker.freeze();
    try {
      await rejectsWith('unavailable', momentOf({ participants: () => participants, expected: ['bus'], holdMs: 50 }), 'no_moment');
    } finally {
      broker.thaw();
    }
  });

  test('notices one that does not answer any more', async (t) => {
    const { host } = deployment(t, { answerTimeoutMs: 500 });
    const bus = await host();
    await bus.declare(queueOf('q'));
    broker.freeze();
    try {
      const fault = await rejectsWith('unavailable', within(5_000, bus.publish([messageTo('q', { id: 'frozen' })]), () => 'publish waited for ever'));
      assert.equal(fault.origin, 'lost');
    } finally {
      broker.thaw();
    }
    await within(20_000, published(bus, 'thawed'), () => 'the bus did not come back');
    assert.deepEqual((await bus.browse('q', { dead: false, limit: 10 })).messages.map(({ id }) => id), ['frozen', 'thawed']);
  });
});

/** Publishes as an outbox does: again until it is taken. */
async function published(bus: Bus, id: string): Promise<void> {
  for (;;) {
    try {
      return await bus.publish([messageTo('q', { id })]);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
