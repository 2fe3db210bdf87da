import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BusSides, type FullBus } from '../../../src/fabric/bus-sides.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { busUnderTest, messageTo, queueOf, stateOf } from '../../support/buses.ts';

test('an event that reached one side only is lost to its publisher, who then publishes it again', async (t) => {
  const under = busUnderTest('embedded');
  const [from, there] = [(await under.open(t)) as FullBus, (await under.open(t)) as FullBus];
  let isAway = true;
  const to = new Proxy(there, {
    get(_, name) {
      if (name === 'publish' && isAway) return () => Promise.reject(new Fault('unavailable', 'away', { origin: 'unsent' }));
      const value: unknown = Reflect.get(there, name, there);
      return typeof value === 'function' ? value.bind(there) : value;
    },
  });
  const sides = new BusSides(from, to, ['moved']);
  for (const name of ['moved', 'unmoved']) {
    const settings = queueOf(name, { topics: ['suite.happened'] });
    for (const bus of [from, there]) await bus.declare(settings);
    sides.learn(settings);
  }
  const event = messageTo('', { to: { topic: 'suite.happened' } });
  const originOf = (published: Promise<void>) => published.then(() => undefined, ({ origin }: Fault) => origin);
  assert.equal(await originOf(sides.publish(sides.addressed([event]))), 'lost');
  assert.equal(await originOf(sides.publish(sides.addressed([messageTo('moved')]))), 'unsent');
  isAway = false;
  await sides.publish(sides.addressed([event]));
  assert.deepEqual([(await stateOf(from, 'unmoved')).ready.normal, (await stateOf(there, 'moved')).ready.normal], [1, 1]);
  assert.deepEqual([(await stateOf(from, 'moved')).ready.normal, (await stateOf(there, 'unmoved')).ready.normal], [0, 0]);
});
