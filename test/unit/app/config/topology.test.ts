import assert from 'node:assert/strict';
import { test } from 'node:test';
import { read } from './fixture.ts';

const placesOf = (yaml: string) => read({ yaml }).problems.map(({ path }) => path);

test('every module lives on one host', () => {
  assert.deepEqual(placesOf('hosts: { app: { modules: [portal, trigger] } }'), ['hosts']);
  assert.deepEqual(placesOf('hosts: { app: { modules: [portal, trigger, notification, notification] } }'), ['hosts.app.modules.3']);
  assert.deepEqual(placesOf('hosts: { app: { modules: [portal, triger, notification] } }'), ['hosts.app.modules.1', 'hosts']);
  assert.deepEqual(placesOf('hosts: { app: { modules: [] } }'), ['hosts.app.modules']);
});

test('all modules may be called through the codec', () => {
  assert.deepEqual(placesOf('calls: { portal: { via: inline-strict }, trigger: { via: inline-strict }, notification: { via: inline-strict } }'), []);
  assert.deepEqual(placesOf('calls: { portal: { via: inline-strict } }'), ['calls.portal.via']);
});

for (const via of ['thread', 'rpc', 'http']) {
  test(`${via} is refused by a build that does not have it, which says what it has`, () => {
    const { problems } = read({ yaml: `calls: { notification: { via: ${via} } }` });
    assert.deepEqual(problems.map(({ path, found }) => [path, found]), [['calls.notification.via', JSON.stringify(via)]]);
    assert.match(problems[0]!.expected, /not in this build, which has inline and inline-strict/);
  });
}

test('a way of calling that nobody knows is told from one that is missing', () => {
  const { problems } = read({ yaml: 'calls: { notification: { via: inlin } }' });
  assert.match(problems[0]!.expected, /Did you mean "inline"/);
});

test('a topology of two hosts is refused for each reason at once', () => {
  const { problems } = read({ yaml: 'hosts: { app: { modules: [portal, trigger] }, mailer: { modules: [notification], listen: "0.0.0.0:7070" } }\ncalls: { notification: { via: rpc } }' });
  assert.deepEqual(problems.map(({ path }) => path).sort(), ['bus.driver', 'calls.notification.via', 'hosts']);
});

test('replicas need a bus and storages that can be shared', () => {
  const yaml = 'hosts: { app: { modules: [portal, trigger, notification], replicas: 2 } }';
  assert.deepEqual(placesOf(yaml), ['bus.driver', 'hosts.app.replicas', 'hosts.app.replicas', 'hosts.app.replicas']);
});

test('a cache needs a call that leaves the process', () => {
  assert.deepEqual(placesOf('calls: { portal: { via: inline, cache: { entries: 50_000 } } }'), ['calls.portal.cache']);
});

test('a registry that this build does not have is refused', () => {
  assert.deepEqual(placesOf('registry: { driver: zookeeper, servers: ["127.0.0.1:2181"] }'), ['registry.driver']);
  assert.deepEqual(placesOf('registry: { driver: static, servers: [] }'), ['registry.servers']);
});
