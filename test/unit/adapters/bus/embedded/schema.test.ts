import assert from 'node:assert/strict';
import { test } from 'node:test';
import { migrations } from '../../../../../adapters/bus/embedded/schema.ts';
import { addQueue, insertKept } from '../../../../../adapters/bus/embedded/statements.ts';
import { createBus, queueOf, sqliteAt, untilQueue } from '../../../../support/buses.ts';
import { testContext } from '../../../../support/context.ts';

test('a file from before histories were kept goes on, and its messages have one from the next failure on', async (t) => {
  const place = testContext();
  t.after(() => place.remove());
  const settings = queueOf('q', { attempts: 3 });
  const before = sqliteAt(place)('bus');
  await before.start();
  await before.migrate(migrations.slice(0, 1));
  await before.transaction(async (tx) => {
    const [queue] = await tx.run(addQueue, { name: 'q', settings: JSON.stringify(settings) });
    await tx.run(insertKept, { seq: 1, queue: queue!.id, state: 3, lane: 1, workspace: 0, id: 'old', name: 'suite.thing', key: null, time: 1, due: 1, trace: '-', attempts: 3, suspect: 0, reason: 'long ago', payload: '{}' });
    await tx.db.updateTable('queue').set({ dead: 1 }).execute();
  });
  await before.stop(1_000);

  const bus = createBus('embedded', place);
  t.after(() => bus.stop(1_000));
  await bus.start();
  const shown = async () => (await bus.browse('q', { dead: true, limit: 10 })).messages.map(({ id, reason, history }) => [id, reason, history.map((part) => part.reason)]);
  assert.deepEqual(await shown(), [['old', 'long ago', []]]);
  await bus.requeue('q', { filter: {} });
  await bus.consume('q', { concurrency: 1 }, async () => ({ kind: 'dead', reason: 'just now' }));
  await untilQueue(bus, 'q', ({ dead, lastTaken }) => dead === 1 && lastTaken !== null);
  assert.deepEqual(await shown(), [['old', 'just now', [null, 'just now']]]);
});
