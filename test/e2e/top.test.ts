import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { askHost } from '../../src/app/control/client.ts';
import type { SystemStatus } from '../../src/kernel/system.ts';
import { columnsOf } from '../../src/cli/top/text.ts';
import { runCli } from '../support/cli.ts';
import { Terminal } from '../support/terminal.ts';
import { layouts, TestSystem } from '../support/topologies.ts';
import { TestWorkspace } from '../support/workspace.ts';

const CALLS = 20;
const MAIN = join(import.meta.dirname, '../../src/main.js');

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
  const bus = (await top()).hosts.find(({ host }) => host === 'mailer')!.edges.find(({ to }) => to === 'bus')!;
  assert.ok(bus.pending > 0 && (bus.p99Ms ?? 0) < 10_000, `calls that wait for messages are no latency: ${bus.p99Ms}`);
  assert.ok(now.callsPerSecond > 0 && now.p50Ms !== null && now.p99Ms !== null && now.p99Ms >= now.p50Ms);
  assert.deepEqual(now.replicas.map(({ state, problem }) => [state, problem]), [['open', null]]);
  assert.ok(now.replicas[0]!.bytesSent > before.replicas[0]!.bytesSent);
});

test('the same is shown as text, and by the scrape of the host that calls', async () => {
  const { out } = await runCli(['top', '--once', '--topology', system.topology]);
  for (const shown of [/2 hosts, 3 modules · all well/, /mailer → bus +rpc/, /app → mailer +rpc +127\.0\.0\.1:\d+ +open/, /notification\.send-requested +0/]) assert.match(out, shown);
  const text = await (await fetch(`http://127.0.0.1:${system.port('mailer')}/metrics`)).text();
  assert.match(text, /^multilith_edge_calls_total\{to="bus",host="app",via="rpc"\} [1-9]/m);
  assert.match(text, /^multilith_replica_state\{host="app",via="rpc",replica="1",state="open"\} 1$/m);
});

test('at a terminal it fits the window, follows its size, and gives the terminal back', { timeout: 60_000 }, async (t) => {
  const terminal = new Terminal(['top', '--topology', system.topology], { columns: 40, rows: 12, env: { NO_COLOR: '1' } });
  t.after(() => terminal.kill());
  const linesOf = (picture: string) => picture.replaceAll(/\x1b\[[?\d]*[A-Za-z]/g, '').split(/\r+\n/);
  await terminal.says(/more lines/);
  const narrow = linesOf(terminal.picture);
  assert.ok(narrow.length <= 12 && narrow.every((line) => columnsOf(line) <= 40), JSON.stringify(narrow));
  terminal.resize(100, 40);
  await terminal.says(/QUEUES +READY WAITING IN FLIGHT/);
  assert.ok(linesOf(terminal.picture).some((line) => columnsOf(line) > 80));
  terminal.type('\u0003');
  await terminal.says(/\x1b\[\?7h\x1b\[\?25h\x1b\[\?1049l\r?\n?exit code 0[^]* icanon[^]* echo /);
  await terminal.ended();
});

test('Ctrl-C ends it at once though no host answers', { timeout: 60_000 }, async (t) => {
  const terminal = new Terminal(['top', '--topology', system.topology], { columns: 80, rows: 24 });
  t.after(() => terminal.kill());
  await terminal.says(/QUEUES/);
  for (const host of system.hosts) system.host(host).freeze();
  try {
    await terminal.says(/! The host \S+ that runs on [^]* does not answer/);
    // The next question is under way soon, and takes its three seconds for each host.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const askedAt = performance.now();
    terminal.type('\u0003');
    await terminal.says(/exit code 0/);
    assert.ok(performance.now() - askedAt < 2_000, `${performance.now() - askedAt} ms`);
  } finally {
    for (const host of system.hosts) system.host(host).thaw();
  }
});

test('piped into a reader that has had enough it ends, and prints no escape sequences', { timeout: 60_000 }, async () => {
  const piped = (args: string, reader: string) => promisify(execFile)('bash', ['-c', `set -o pipefail; "$1" "$2" top --topology "$3" ${args} | ${reader}`, 'bash', process.execPath, MAIN, system.topology], { timeout: 30_000 });
  const { stdout } = await piped('', 'head -1');
  assert.match(stdout, /^ Multilith · 2 hosts, 3 modules · all well {3,}\d\d:\d\d:\d\d\n$/);
  assert.equal((JSON.parse((await piped('--json', 'head -1')).stdout) as SystemStatus).hosts.length, 2);
  assert.doesNotMatch((await piped('', 'cat')).stdout, /\x1b/);
});

test('what it does not know is refused with what it may have meant', async () => {
  for (const [args, said] of [[['--onec'], /no option --onec.*--once/], [['app'], /"app"/], [['--json=yes'], /takes no value/]] as const) {
    const { code, error } = await runCli(['top', ...args]);
    assert.equal(code, 2);
    assert.match(error, said);
  }
});

test('a queue that was paused is seen by whoever looks, for one workspace too', async () => {
  const queue = 'notification.send-requested';
  const queues = async (...args: string[]) => assert.equal((await runCli(['queues', ...args, '--topology', system.topology])).code, 0);
  const seen = async () => {
    const state = (await top()).hosts[0]!.queues!.find(({ name }) => name === queue)!;
    const { out } = await runCli(['doctor', '--topology', system.topology, '--host', 'mailer']);
    return [state.paused, state.pausedWorkspaces, /^.{4} {2}queues +(.*)$/m.exec(out)?.[1]];
  };
  assert.deepEqual(await seen(), [false, 0, 'none is paused']);
  await queues('pause', queue);
  assert.deepEqual(await seen(), [true, 0, `${queue} is paused`]);
  const { out } = await runCli(['top', '--once', '--topology', system.topology]);
  for (const shown of [/· 1 paused queue/, /notification\.send-requested \(paused\) +0/]) assert.match(out, shown);
  const readyz = (await (await fetch(`${system.url}/readyz`)).json()) as { problems: string[] };
  assert.deepEqual(readyz.problems, [], 'it is meant to be');
  await queues('resume', queue);
  await queues('pause', queue, '--workspace', 'w-1');
  assert.deepEqual(await seen(), [false, 1, `${queue} is paused for 1 of the workspaces`]);
  await queues('resume', queue, '--workspace', 'w-1');
  assert.deepEqual(await seen(), [false, 0, 'none is paused']);
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
