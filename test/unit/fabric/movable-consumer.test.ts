import assert from 'node:assert/strict';
import { type TestContext as Test, test } from 'node:test';
import { MovableConsumer, type Outliving } from '../../../src/fabric/movable-consumer.ts';
import type { Bus, Handler, Outcome } from '../../../src/ports/bus.ts';
import { busUnderTest, isEmpty, messageTo, queueOf, untilQueue } from '../../support/buses.ts';

async function busOf(t: Test): Promise<Bus> {
  const bus = await busUnderTest('embedded').open(t);
  await bus.declare(queueOf('q'));
  return bus;
}

/** A handler whose every call waits for its answer. */
function slow(): { handler: Handler; calls: PromiseWithResolvers<Outcome>[]; called(count: number): Promise<void> } {
  const calls: PromiseWithResolvers<Outcome>[] = [];
  const handler: Handler = () => {
    const call = Promise.withResolvers<Outcome>();
    calls.push(call);
    return call.promise;
  };
  const called = async (count: number): Promise<void> => {
    while (calls.length < count) await new Promise((resolve) => setTimeout(resolve, 2));
  };
  return { handler, calls, called };
}

/** Counts how often a consumer has looked for whoever speaks for its message. */
class Watched extends Map<string, Promise<Outcome>> {
  looks = 0;

  override get(name: string): Promise<Outcome> | undefined {
    this.looks++;
    return super.get(name);
  }
}

test('a handler that outlives the move of its queue speaks for its message on the other side', { timeout: 20_000 }, async (t) => {
  const [here, there] = [await busOf(t), await busOf(t)];
  const outliving = new Watched();
  const { handler, calls, called } = slow();
  const [one, other] = [0, 1].map(() => new MovableConsumer('q', 1, handler, { outliving, ended() {} })) as [MovableConsumer, MovableConsumer];
  await here.publish([messageTo('q', { id: 'long' })]);
  await one.open(here);
  await called(1);
  await one.suspend(10);
  await untilQueue(here, 'q', ({ ready, inFlight, consumers }) => ready.normal === 1 && inFlight === 0 && consumers === 0);

  const looked = outliving.looks;
  await there.publish([messageTo('q', { id: 'long' })]);
  await other.open(there);
  while (outliving.looks === looked) await new Promise((resolve) => setTimeout(resolve, 2));
  assert.equal(calls.length, 1, 'the message is handled twice at once');
  calls[0]!.resolve({ kind: 'done' });
  await untilQueue(there, 'q', isEmpty);
  assert.equal(outliving.size, 0);
  await there.publish([messageTo('q', { id: 'long' })]);
  await called(2);
  calls[1]!.resolve({ kind: 'done' });
  await other.stop(1_000);
});

test('a consumer that was stopped has no say any more in what its handlers still do', { timeout: 20_000 }, async (t) => {
  const [here, there] = [await busOf(t), await busOf(t)];
  const outliving: Outliving = new Map();
  const { handler, calls, called } = slow();
  const ended: MovableConsumer[] = [];
  const consumer = (bus: Bus) => {
    const one = new MovableConsumer('q', 1, handler, { outliving, ended: (which) => void ended.push(which) });
    return one.open(bus).then(() => one);
  };
  await here.publish([messageTo('q', { id: 'long' })]);
  const first = await consumer(here);
  await called(1);
  await first.suspend(10);
  assert.equal(outliving.size, 1);
  await first.stop(10);
  assert.deepEqual([ended, outliving.size], [[first], 0]);
  await first.open(there);
  await there.publish([messageTo('q', { id: 'long' })]);
  assert.equal((await there.inspect())[0]!.consumers, 0);
  const second = await consumer(there);
  await called(2);
  calls[1]!.resolve({ kind: 'done' });
  await untilQueue(there, 'q', isEmpty);
  calls[0]!.resolve({ kind: 'done' });
  await second.stop(1_000);
});
