import assert from 'node:assert/strict';
import { after, before, describe, test, type TestContext as Test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Connection } from '../../../../adapters/bus/activemq/connection.ts';
import { Office } from '../../../../adapters/bus/activemq/office.ts';
import { busDrivers } from '../../../../adapters/bus/catalog.ts';
import { busSharing } from '../../../../src/app/host/bus-sharing.ts';
import { systemClock } from '../../../../src/kernel/clock.ts';
import { newId } from '../../../../src/kernel/ids.ts';
import type { Bus } from '../../../../src/ports/bus.ts';
import type { BusSharing } from '../../../../src/ports/bus-sharing.ts';
import { ActiveMqServer } from '../../../support/activemq.ts';
import { Arrivals, messageTo, queueOf, sqliteAt, within } from '../../../support/buses.ts';
import { testContext } from '../../../support/context.ts';
import { WorkerProgram } from '../../../support/worker-program.ts';

let broker: ActiveMqServer;

/** Processes of one deployment. What a guest asks of the keeper can be held up on its way. */
function deployment(t: Test) {
  const { activemq } = busDrivers;
  const prefix = `roles-${newId()}`;
  const settings = activemq.settings.parse({ port: broker.port, prefix, heartbeatMs: 1_000 });
  return {
    async host(change: (sharing: BusSharing) => BusSharing = (sharing) => sharing): Promise<Bus> {
      const place = testContext();
      const bus = activemq.create(settings, { ...place, openStorage: sqliteAt(place), sharing: change(busSharing(place)) });
      t.after(async () => {
        await bus.stop(1_000);
        place.remove();
      });
      await bus.start();
      return bus;
    },
    async program(): Promise<WorkerProgram> {
      const connection = await Connection.open(settings, systemClock);
      t.after(() => connection.close());
      return new WorkerProgram(connection, prefix);
    },
  };
}

describe('a process on an activemq bus', () => {
  before(async () => void (broker = await ActiveMqServer.start()));
  after(() => broker.remove());

  test('that was about to be a guest when it became the keeper stays the keeper', async (t) => {
    const { host } = deployment(t);
    const [asked, late] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const keeper = await host();
    await keeper.declare(queueOf('q'));
    const starting = host((sharing) => ({
      ...sharing,
      async reach(connect) {
        asked.resolve();
        await late.promise;
        return sharing.reach(connect);
      },
    }));
    await asked.promise;
    await keeper.stop(1_000);
    const next = await starting;
    await within(20_000, untilKeeper(next), () => 'nobody became the keeper');
    late.resolve();
    const arrivals = new Arrivals();
    await next.consume('q', { concurrency: 1 }, arrivals.handler);
    for (const id of ['a', 'b', 'c']) await next.publish([messageTo('q', { id })]);
    await arrivals.count(3);
    assert.equal(next.problem, undefined);
    assert.notEqual(await next.contents!.queues(), undefined);
  });

  test('goes on consuming what it began to consume when it was another one', async (t) => {
    const { host } = deployment(t);
    const [asked, late] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const keeper = await host();
    const guest = await host((sharing) => ({
      ...sharing,
      async reach(connect) {
        const bus = await sharing.reach(connect);
        const consume = bus.consume.bind(bus);
        bus.consume = async (queue, ...how) => {
          const consumer = await consume(queue, ...how);
          if (queue === 'late') {
            asked.resolve();
            await late.promise;
          }
          return consumer;
        };
        return bus;
      },
    }));
    const [before, arrivals] = [new Arrivals(), new Arrivals()];
    for (const queue of ['early', 'late']) await guest.declare(queueOf(queue));
    await guest.consume('early', { concurrency: 1 }, before.handler);
    const consuming = guest.consume('late', { concurrency: 1 }, arrivals.handler);
    await asked.promise;
    await keeper.stop(1_000);
    await within(20_000, untilKeeper(guest), () => 'the guest did not take over');
    await guest.publish([messageTo('early')]);
    await before.count(1);
    late.resolve();
    await consuming;
    await guest.publish([messageTo('late')]);
    await arrivals.count(1);
  });

  test('has its office alone for as long as its connection lasts', async (t) => {
    const { program } = deployment(t);
    const [prefix, { signal }] = [`office-${newId()}`, new AbortController()];
    const [one, other] = [(await program()).connection, (await program()).connection];
    const office = await Office.seek(one, prefix, systemClock, signal);
    await office.change({ keeper: 'one', log: 'l', base: 0, waste: null });
    const next = Office.seek(other, prefix, systemClock, signal);
    // Long enough to ask more than once.
    assert.equal(await Promise.race([next, pause(2_500)]), undefined);
    one.close();
    assert.equal((await within(20_000, next, () => 'nobody took over')).charge?.keeper, 'one');
  });

  test('takes nothing for the token of its office that is none, and keeps it for those who look after it', async (t) => {
    const { host, program } = deployment(t);
    const keeper = await host();
    await keeper.declare(queueOf('q'));
    await keeper.publish([messageTo('q', { id: 'before' })]);
    const stranger = (await program()).reads('refused');
    for (const body of ['nonsense', '{"keeper":"me"}']) await stranger.send('keeper', body);
    await stranger.nth(2);
    assert.deepEqual(stranger.given.map(({ headers: { reason }, body }) => [reason, body.toString()]), [
      ['invalid/token_invalid: It is no token.', 'nonsense'],
      ['invalid/token_invalid: It is no token.', '{"keeper":"me"}'],
    ]);
    await keeper.stop(1_000);
    const next = await host();
    assert.deepEqual((await next.browse('q', { dead: false, limit: 10 })).messages.map(({ id }) => id), ['before']);
  });

  test('as a guest has no problem any more when its broker is back', async (t) => {
    const { host } = deployment(t);
    await host();
    const guest = await host();
    await broker.kill();
    await within(20_000, until(() => /has been away/.test(guest.problem ?? '')), () => `${guest.problem}`);
    await broker.up();
    await within(20_000, until(() => guest.problem === undefined), () => `${guest.problem}`);
  });
});

/** A guest knows nothing of the queues. */
async function untilKeeper({ contents }: Bus): Promise<void> {
  await until(() => contents!.queues().then(() => true, () => false));
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
}
