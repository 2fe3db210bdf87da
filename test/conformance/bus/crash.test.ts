import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ChildPlan } from '../../support/bus-child.ts';
import { isEmpty, messageTo, onEachBus, queueOf, stateOf } from '../../support/buses.ts';

const CHILD = fileURLToPath(new URL('../../support/bus-child.js', import.meta.url));

interface Delivery {
  readonly id: string;
  readonly attempt: number;
}

/** Runs a consuming process until it dies, or until it has been quiet for a while, and tells what it was given. */
async function runChild(plan: ChildPlan, quietMs: number): Promise<{ deliveries: Delivery[]; died: boolean }> {
  const child = fork(CHILD, [JSON.stringify(plan)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const deliveries: Delivery[] = [];
  let quiet: NodeJS.Timeout | undefined;
  let died = true;
  child.on('message', (delivery: Delivery) => {
    deliveries.push(delivery);
    clearTimeout(quiet);
    quiet = setTimeout(() => {
      died = false;
      child.kill('SIGKILL');
    }, quietMs);
  });
  await once(child, 'exit');
  clearTimeout(quiet);
  return { deliveries, died };
}

onEachBus('crash', (under) => {
  test('a message that kills the process ends in the error queue, and takes no neighbour along', async (t) => {
    const place = under.place(t);
    const plan: ChildPlan = { driver: under.driver, dataDir: place.dataDir, attempts: 3, concurrency: 8 };
    const first = await under.open(t, place);
    await first.declare(queueOf('q', { attempts: plan.attempts }));
    const good = Array.from({ length: 30 }, (_, i) => messageTo('q', { id: `good${i}` }));
    await first.publish([...good.slice(0, 3), messageTo('q', { id: 'poison', name: 'suite.poison' }), ...good.slice(3)]);
    await first.stop(1_000);
    const poisoned: number[] = [];
    let deaths = 0;
    for (let run = 0; run < 10; run++) {
      const { deliveries, died } = await runChild(plan, 500);
      poisoned.push(...deliveries.filter((d) => d.id === 'poison').map((d) => d.attempt));
      if (!died) break;
      deaths++;
    }
    assert.deepEqual([poisoned, deaths], [[1, 2, 3], 3]);
    const last = await under.open(t, place);
    const { messages } = await last.browse('q', { dead: true, limit: 10 });
    assert.deepEqual(messages.map((m) => [m.id, m.attempts]), [['poison', 3]]);
    assert.match(messages[0]!.reason!, /^interrupted/);
    assert.ok(isEmpty(await stateOf(last, 'q')));
  });

  test('a message whose only try was cut short is not tried again', async (t) => {
    const place = under.place(t);
    const plan: ChildPlan = { driver: under.driver, dataDir: place.dataDir, attempts: 1, concurrency: 1 };
    const first = await under.open(t, place);
    await first.declare(queueOf('q', { attempts: 1 }));
    await first.publish([messageTo('q', { id: 'poison', name: 'suite.poison' }), messageTo('q', { id: 'good' })]);
    await first.stop(1_000);
    assert.equal((await runChild(plan, 500)).died, true);
    const { deliveries } = await runChild(plan, 300);
    assert.deepEqual(deliveries, [{ id: 'good', attempt: 1 }]);
  });
});
