import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import type { Finding } from '../../src/app/host/checks.ts';
import { runCli } from '../support/cli.ts';
import { layouts, TestSystem } from '../support/topologies.ts';

/** A port that nobody listens on, and nobody is given by chance. */
const NOBODY = '127.0.0.1:1';
let system: TestSystem;
before(async () => {
  system = await TestSystem.prepare(layouts['notification over rpc with caches']);
});
after(() => system.dispose());

async function doctor(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; find(check: string): Finding | undefined }> {
  const { code, out, error } = await runCli(['doctor', '--json', '--topology', system.topology, ...args], { env });
  assert.equal(error, '');
  const findings = JSON.parse(out) as Finding[];
  for (const { state, check, remedy } of findings) assert.equal(remedy === undefined, state === 'ok', check);
  return { code, find: (check) => findings.find((finding) => finding.check === check) };
}

test('before anything runs, the port is free and the other host is missed, which stops nobody', async () => {
  const { code, find } = await doctor(['--host', 'app']);
  assert.equal(code, 0);
  assert.deepEqual([find('peer port')?.state, find('registry')?.state, find('host mailer')?.state], ['ok', 'ok', 'warn']);
  assert.match(find('host mailer')!.remedy!, /--host mailer/);
});

test('a port that another program has fails, one that is silent elsewhere stops nobody, and a host name that is not in the topology is told', async () => {
  const open = new Set<Socket>();
  const others = system.hosts.map((host) => createServer((socket) => open.add(socket.on('error', () => {}))).listen(system.port(host), '127.0.0.1'));
  try {
    const { code, find } = await doctor(['--host', 'app', '--set', 'calls.notification.via=http']);
    assert.deepEqual([code, find('peer port')?.state, find('host mailer')?.state], [1, 'fail', 'warn']);
  } finally {
    for (const socket of open) socket.destroy();
    await Promise.all(others.map((other) => new Promise((resolve) => other.close(resolve))));
  }
  assert.equal((await runCli(['doctor', '--topology', system.topology, '--host', 'nope'])).code, 2);
});

test('several hosts and none named is said, and only what all of them need is looked at', async () => {
  const { code, find } = await doctor([]);
  assert.deepEqual([code, find('hosts')?.state, find('peer port')], [0, 'warn', undefined]);
});

test('a host that shows no pages needs no port for them', async () => {
  const { find } = await doctor(['--host', 'mailer']);
  assert.equal(find('port'), undefined);
  assert.equal(find('channel email')?.state, 'ok');
  assert.equal((await doctor(['--host', 'app'])).find('channel email'), undefined);
});

test('a registry and a cache that are not there are missed, and stop nobody', async () => {
  const { code, find } = await doctor(['--host', 'app', '--set', 'hosts.mailer.listen=127.0.0.1:0', '--set', `registry={driver: zookeeper, servers: ["${NOBODY}"]}`, '--set', `caches.memcached={driver: memcached, servers: ["${NOBODY}"]}`, '--set', 'calls.notification.cache.shared=memcached']);
  assert.deepEqual([code, find('registry')?.state, find('cache memcached')?.state], [0, 'warn', 'warn']);
  assert.match(find('host mailer')!.detail, /no process of it is known/, 'port 0 is nobody\'s');
});

test('the other host answers, fits and agrees on the time; one that wants another secret is a failure', async () => {
  await Promise.all(system.hosts.map((host) => system.startHost(host)));
  const { code, find } = await doctor(['--host', 'app']);
  assert.equal(code, 0);
  assert.deepEqual([find('host mailer')?.state, find('clock mailer')?.state], ['ok', 'ok']);
  assert.match(find('host mailer')!.detail, /contracts fit/);
  const stranger = await doctor(['--host', 'app'], { MULTILITH_PEER_SECRET: 'not the one that mailer has' });
  assert.deepEqual([stranger.code, stranger.find('host mailer')?.state], [1, 'fail']);
  assert.match(stranger.find('host mailer')!.detail, /secret/);
  assert.ok(!JSON.stringify(stranger.find('host mailer')).includes('not the one'));
  assert.equal((await doctor(['--host', 'mailer'])).find('peer port')?.detail.includes('left alone'), true);
});
