import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { askHost } from '../../src/app/control/client.ts';
import type { SystemStatus } from '../../src/kernel/system.ts';
import { runCli } from '../support/cli.ts';
import { layouts, TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';

const CALLS = 20;

let system: TestSystem;
before(async () => {
  system = await TestSystem.start(layouts['notification over rpc']);
});
after(() => system.dispose());

async function top(): Promise<SystemStatus> {
  const { code, out, error } = await runCli(['top', '--once', '--json', '--topology', system.topology]);
  assert.equal(code, 0, error);
  return JSON.parse(out) as SystemStatus;
}

test('top shows both hosts, who runs what, and the queues where the messages are kept', async () => {
  const { hosts, unreachable } = await top();
  assert.deepEqual(hosts.map(({ host, phase, modules, queues, problems }) => [host, phase, modules.map(({ name }) => name), queues !== null, problems]), [
    ['app', 'ready', ['portal', 'trigger'], true, []],
    ['mailer', 'ready', ['notification'], false, []],
  ]);
  assert.deepEqual(unreachable, []);
});

test('calls between the hosts are counted, with their times and what crossed', async () => {
  const workspace = await TestWorkspace.create(system);
  const edge = async () => (await top()).hosts.find(({ host }) => host === 'app')!.edges.find(({ to }) => to === 'notification')!;
  const before = await edge();
  for (let asked = 0; asked < CALLS; asked++) await workspace.ask('GET', '/api/v1/deliveries');
  const now = await edge();
  assert.deepEqual([now.host, now.via, now.calls - before.calls, now.failed, now.pending], ['mailer', 'rpc', CALLS, 0, 0]);
  assert.ok(now.callsPerSecond > 0 && now.p50Ms !== null && now.p99Ms !== null && now.p99Ms >= now.p50Ms);
  assert.deepEqual(now.replicas.map(({ state, problem }) => [state, problem]), [['open', null]]);
  assert.ok(now.replicas[0]!.bytesSent > before.replicas[0]!.bytesSent);
});

test('the same is shown as text, and by the scrape of the host that calls', async () => {
  const { out } = await runCli(['top', '--once', '--topology', system.topology]);
  for (const shown of [/2 hosts, 3 modules · all well/, /mailer → bus +rpc/, /app → mailer +rpc +127\.0\.0\.1:\d+ +open/, /notification\.send-requested +0/]) assert.match(out, shown);
  const text = await (await fetch(`http://127.0.0.1:${system.port('mailer')}/metrics`)).text();
  assert.match(text, /^multilith_edge_calls_total\{to="bus",host="app",via="rpc"\} [1-9]/m);
  assert.match(text, /^multilith_replica_state\{host="app",via="rpc",address="127\.0\.0\.1:\d+",state="open"\} 1$/m);
});

test('a host that hangs is listed as unreachable within its time', async () => {
  system.host('mailer').freeze();
  try {
    const startedAt = performance.now();
    const { hosts, unreachable } = (await askHost(system.dataDir, 'app', 'GET', '/system')) as SystemStatus;
    assert.ok(performance.now() - startedAt < 2_000, `${performance.now() - startedAt} ms`);
    assert.deepEqual(hosts.map(({ host }) => host), ['app']);
    assert.deepEqual(unreachable.map(({ host, address }) => [host, address]), [['mailer', `127.0.0.1:${system.port('mailer')}`]]);
    assert.match(unreachable[0]!.problem, /not answered within 1\.5 s/);
  } finally {
    system.host('mailer').thaw();
  }
});

test('a host that was stopped is listed as unreachable at once, with the reason, by whichever host is left', async () => {
  await system.host('app').stop();
  const { hosts, unreachable } = await top();
  assert.deepEqual(hosts.map(({ host }) => host), ['mailer']);
  assert.deepEqual(unreachable.map(({ host }) => host), ['app']);
  assert.notEqual(unreachable[0]!.problem, '');
  await system.host('mailer').stop();
  const { code, error } = await runCli(['top', '--once', '--topology', system.topology]);
  assert.equal(code, 1);
  assert.match(error, /No host runs on/);
});
