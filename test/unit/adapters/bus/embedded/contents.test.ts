import assert from 'node:assert/strict';
import { test } from 'node:test';
import { busUnderTest, createBus, isEmpty, messageTo, queueOf, sqliteAt, untilQueue } from '../../../../support/buses.ts';
import { rejectsWith } from '../../../../support/faults.ts';
import { type Breakage, flakyStorage } from '../../../../support/flaky-storage.ts';

const LONG = 5_100;

test('a cursor is good for what is published after a failed write, though the messages before it are gone', async (t) => {
  const place = busUnderTest('embedded').place(t);
  let breakage: Breakage;
  const bus = createBus('embedded', place, {}, (name) => flakyStorage(sqliteAt(place)(name), () => breakage));
  const awake = setInterval(() => {}, 60_000);
  t.after(async () => {
    clearInterval(awake);
    await bus.stop(2_000);
  });
  await bus.start();
  for (const name of ['long', 'other']) await bus.declare(queueOf(name));
  await bus.publish(Array.from({ length: LONG }, () => messageTo('long', { payload: '1' })));
  await bus.publish(Array.from({ length: 5 }, () => messageTo('other')));
  let cursor: string | undefined;
  for (let end = false; !end; ) ({ next: cursor, end } = await bus.contents!.read('long', cursor));
  const consumer = await bus.consume('other', { concurrency: 5 }, async () => ({ kind: 'done' }));
  await untilQueue(bus, 'other', isEmpty);
  await consumer.stop(1_000);
  breakage = 'rolled back';
  await rejectsWith('unavailable', bus.publish([messageTo('other')]), 'storage');
  breakage = undefined;
  await bus.publish([messageTo('long', { id: 'later' })]);
  assert.deepEqual((await bus.contents!.read('long', cursor)).messages.map(({ id }) => id), ['later']);
});
