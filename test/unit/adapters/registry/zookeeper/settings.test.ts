import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ZooKeeperSettings } from '../../../../../adapters/registry/zookeeper/driver.ts';
import { announcementOf, createRegistry } from '../../../../support/registries.ts';
import { rejectsWith } from '../../../../support/faults.ts';

const servers = ['127.0.0.1:2181'];

test('needs the servers and nothing else', () => {
  assert.deepEqual(ZooKeeperSettings.parse({ servers: ['zk1.internal:2181', '[::1]:2181'] }), {
    servers: ['zk1.internal:2181', '[::1]:2181'],
    sessionTimeoutMs: 6_000,
    root: '/multilith',
    refreshMs: 15_000,
  });
});

test('refuses what ZooKeeper would take for something else', () => {
  const wrong = [
    {},
    { servers: [] },
    { servers: ['localhost'] },
    { servers: ['localhost:0'] },
    { servers: ['localhost:65536'] },
    { servers: ['localhost:2181/chroot'] },
    { servers: ['a:1,b:2'] },
    ...['', '/', 'multilith', '/a/', '/a/../b', '/.', '/a b', '//a'].map((root) => ({ servers, root })),
    { servers, username: 'a' },
    { servers, password: 'b' },
    { servers, username: 'a:b', password: 'c' },
    { servers, sessionTimeoutMs: 0 },
    { servers, unknown: 1 },
  ];
  for (const settings of wrong) assert.equal(ZooKeeperSettings.safeParse(settings).success, false, JSON.stringify(settings));
});

test('refuses to announce what others would not take', async () => {
  const registry = createRegistry('zookeeper', { servers });
  await rejectsWith('invalid', registry.announce(announcementOf({ address: 'nowhere' })), 'announcement');
  await rejectsWith('invalid', registry.announce(announcementOf({ contracts: Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`contract-${at}`, 'x'.repeat(64)])) })), 'announcement');
});

test('refuses the name of an office that is a path', () => {
  const registry = createRegistry('zookeeper', { servers });
  for (const office of ['', '.', '..', 'a/b', '/a', 'a\0b', 'x'.repeat(101)]) assert.throws(() => registry.elect(office), { code: 'invalid', reason: 'office' });
});
