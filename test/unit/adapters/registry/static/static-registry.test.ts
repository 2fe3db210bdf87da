import assert from 'node:assert/strict';
import { test } from 'node:test';
import { announcementOf, createRegistry, HOSTS, untilState } from '../../../../support/registries.ts';
import { Fault } from '../../../../../src/kernel/fault.ts';

test('is always fresh, before it is started too', async () => {
  const registry = createRegistry('static', {});
  assert.ok((await untilState(registry, () => true)).fresh);
  await registry.start();
  assert.ok((await untilState(registry, () => true)).fresh);
});

test('refuses an election that it cannot be sure of: among the processes of one host', () => {
  const registry = createRegistry('static', {}, {}, HOSTS, 2);
  assert.throws(
    () => registry.elect('agenda'),
    (thrown) => Fault.is(thrown) && thrown.code === 'conflict' && thrown.reason === 'static_election' && thrown.details['replicas'] === 2,
  );
});

test('what is announced at an address that the topology does not know is not shown', async () => {
  const registry = createRegistry('static', {});
  await registry.start();
  await registry.announce(announcementOf({ address: '127.0.0.1:9999' }));
  const { announcements } = await untilState(registry, () => true);
  assert.deepEqual(
    announcements.map(({ address }) => address),
    HOSTS.flatMap(({ addresses }) => addresses),
  );
});
