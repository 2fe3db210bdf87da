import assert from 'node:assert/strict';
import { type TestContext as Test, test } from 'node:test';
import type { BusAccess } from '../../../src/fabric/bus-contract.ts';
import { BusService } from '../../../src/fabric/bus-service.ts';
import { RemoteBus } from '../../../src/fabric/remote-bus.ts';
import type { Call } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Bus, Handler } from '../../../src/ports/bus.ts';
import { Arrivals, busUnderTest, isEmpty, messageTo, queueOf, stateOf, untilQueue } from '../../support/buses.ts';
import { silentLog } from '../../support/context.ts';
import { rejectsWith } from '../../support/faults.ts';

/** A bus, its service, and a remote bus that calls it directly, but for what a test puts in between. */
async function linked(t: Test, between: (service: BusService) => Partial<BusAccess> = () => ({})): Promise<{ local: Bus; service: BusService; remote: RemoteBus }> {
  const under = busUnderTest('embedded');
  const place = under.place(t);
  const local = await under.open(t, place);
  const service = new BusService({ bus: local, clock: place.clock, log: silentLog });
  const stub = new Proxy({ ...between(service) } as BusAccess, { get: (changed, method) => Reflect.get(changed, method) ?? Reflect.get(service, method).bind(service) });
  const remote = new RemoteBus({ stub, clock: place.clock, log: silentLog });
  t.after(async () => {
    await remote.stop(500);
    await service.stop(500);
  });
  await remote.start();
  return { local, service, remote };
}

const away = () => new Fault('unavailable', 'Not now.', { origin: 'unsent' });

test('outcomes that could not be told are told again, once the other side listens', async (t) => {
  let refusals = 3;
  const { local, remote } = await linked(t, (service) => ({ settle: async (request) => (refusals-- > 0 ? Promise.reject(away()) : service.settle(request)) }));
  await remote.declare(queueOf('q'));
  const arrivals = new Arrivals();
  await remote.consume('q', { concurrency: 5 }, arrivals.handler);
  await remote.publish([messageTo('q'), messageTo('q')]);
  await untilQueue(local, 'q', isEmpty);
  assert.deepEqual([arrivals.messages.length, refusals < 0], [2, true]);
});

test('a consumer whose end was not heard of takes nothing from others, and is ended with its next message', async (t) => {
  let deaf = true;
  const { local, remote } = await linked(t, (service) => ({ release: async (request) => (deaf ? Promise.reject(away()) : service.release(request)) }));
  await remote.declare(queueOf('q'));
  await remote.declare(queueOf('other'));
  await remote.consume('other', { concurrency: 1 }, async () => ({ kind: 'done' }));
  const gone = new Arrivals();
  const consumer = await remote.consume('q', { concurrency: 1 }, gone.handler);
  await consumer.stop(50);
  deaf = false;
  assert.equal((await stateOf(local, 'q')).consumers, 1);
  await local.publish([messageTo('q')]);
  await untilQueue(local, 'q', ({ consumers, ready }) => consumers === 0 && ready.normal === 1);
  const arrivals = new Arrivals();
  await remote.consume('q', { concurrency: 1 }, arrivals.handler);
  await arrivals.count(1);
  assert.deepEqual([gone.messages.length, arrivals.messages[0]!.attempt], [0, 1]);
});

/** Which of its own timers a `stop` outlasts when the other side falls silent just before: on a busy machine all of them are late, and in the same order. */
async function outlastedBy(t: Test, deadlineMs: number, timersMs: readonly number[], handled: number, outcome: Handler): Promise<number[]> {
  let frozen = false;
  const held = <Request, Reply>(ask: (request: Request, call: Call) => Promise<Reply>) => (request: Request, call: Call) =>
    frozen ? new Promise<Reply>((_, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason as Fault), { once: true })) : ask(request, call);
  const { remote } = await linked(t, (service) => ({ release: held(service.release.bind(service)), settle: held(service.settle.bind(service)), take: held(service.take.bind(service)) }));
  await remote.declare(queueOf('q'));
  const begun = new Arrivals();
  const consumer = await remote.consume('q', { concurrency: 1 }, (message) => {
    void begun.handler(message);
    frozen = true;
    return outcome(message);
  });
  if (handled > 0) await remote.publish([messageTo('q')]);
  await begun.count(handled);
  frozen = true;
  await new Promise(setImmediate);
  const outlasted: number[] = [];
  const stopped = consumer.stop(deadlineMs);
  const timers = timersMs.map((ms) => setTimeout(() => outlasted.push(ms), ms));
  await stopped;
  for (const timer of timers) clearTimeout(timer);
  return outlasted;
}

test('a consumer that holds nothing does not wait for a silent other side, however long it may', async (t) => {
  assert.deepEqual(await outlastedBy(t, 20_000, [2_000], 0, async () => ({ kind: 'done' })), []);
});

test('a consumer at work when the other side falls silent ends within its time', async (t) => {
  assert.deepEqual(await outlastedBy(t, 1_500, [1_300, 1_700], 1, () => new Promise(() => {})), [1_300]);
});

test('a consumer whose last outcome nobody has heard yet uses its time to tell it, and no more', async (t) => {
  assert.deepEqual(await outlastedBy(t, 1_500, [1_300, 1_700], 1, async () => ({ kind: 'done' })), [1_300]);
});

test('a call of many megabytes is published in parts, in order', async (t) => {
  let calls = 0;
  const { remote } = await linked(t, (service) => ({
    publish: (request) => {
      calls++;
      assert.ok(JSON.stringify(request).length < 3_000_000);
      return service.publish(request);
    },
  }));
  await remote.declare(queueOf('q', { ordered: true }));
  const payload = JSON.stringify('x'.repeat(400_000));
  const ids = Array.from({ length: 12 }, (_, i) => `m${i}`);
  await remote.publish(ids.map((id) => messageTo('q', { id, key: 'k', payload })));
  const arrivals = new Arrivals();
  await remote.consume('q', { concurrency: 3 }, arrivals.handler);
  await arrivals.count(12);
  assert.deepEqual([arrivals.ids, calls > 3], [ids, true]);
});

test('whoever speaks of a session that is not there is told so, and cannot begin one by asking for messages', async (t) => {
  const { service } = await linked(t);
  const call = { deadline: Date.now() + 5_000, signal: new AbortController().signal } as never;
  await rejectsWith('not_found', service.take({ session: 's', after: 0 }, call), 'session_lost');
  await rejectsWith('not_found', service.settle({ session: 's', outcomes: [] }), 'session_lost');
  await rejectsWith('not_found', service.release({ session: 's', consumer: 'c', deadlineMs: 0 }), 'session_lost');
  await rejectsWith('not_found', service.consume({ session: 's', begins: false, consumer: 'c', queue: 'q', concurrency: 1 }), 'session_lost');
  await rejectsWith('not_found', service.consume({ session: 's', begins: true, consumer: 'c', queue: 'nowhere', concurrency: 1 }), 'queue_not_found');
  assert.equal(service.sessions, 0);
});
