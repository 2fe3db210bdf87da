import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isRunning } from '../../src/app/control/client.ts';
import { runCli } from '../support/cli.ts';
import { Multilith } from '../support/multilith.ts';

const root = mkdtempSync(join(tmpdir(), 'multilith-boot-'));
after(() => rmSync(root, { recursive: true, force: true }));
const freshDir = () => mkdtempSync(join(root, 'data-'));

const linkIn = (output: string) => /http:\S+\/setup\/\S+/.exec(output)?.[0];

async function portTaken(): Promise<{ port: number; free: () => Promise<void> }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return { port, free: () => new Promise((resolve) => server.close(() => resolve())) };
}

test('the first start says where to go, where data lies, and gives a link that works', async () => {
  const dataDir = freshDir();
  const server = await Multilith.start({ dataDir });
  try {
    assert.ok(server.output.includes(server.url) && server.output.includes(dataDir) && server.output.includes('outbox'), server.output);
    const link = linkIn(server.output);
    assert.ok(link, server.output);
    const page = await fetch(link);
    assert.equal(page.status, 200);
    assert.ok(!server.output.split('\n').some((line) => line.startsWith('{') && line.includes(link.split('/').at(-1)!)), 'the link is in the log');
  } finally {
    assert.equal(await server.stop(), 0);
  }
});

/** CPU time that a process and its threads have used, ms (proc(5), in ticks of 10 ms). */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

test('the second start takes under three seconds and keeps the secret', async (t) => {
  const dataDir = freshDir();
  await (await Multilith.start({ dataDir })).stop();
  const secret = readFileSync(join(dataDir, 'installation.json'), 'utf8');
  const startedAt = performance.now();
  const server = await Multilith.start({ dataDir });
  const [tookMs, cpu] = [performance.now() - startedAt, cpuMs(server.process.pid!)];
  t.diagnostic(`${Math.round(tookMs)} ms, ${cpu} ms of them on a CPU`);
  assert.equal(await server.stop(), 0);
  // On a machine that does other things as well, only the second figure says something about the program.
  assert.ok(tookMs < 3_000 || cpu < 2_000, `it took ${Math.round(tookMs)} ms, ${cpu} ms of them on a CPU`);
  assert.equal(readFileSync(join(dataDir, 'installation.json'), 'utf8'), secret);
});

test('a second process on the directory is told whose it is, and after kill -9 it is free', async () => {
  const dataDir = freshDir();
  const first = await Multilith.start({ dataDir });
  const second = await runCli(['start'], { env: { MULTILITH_DATA: dataDir, MULTILITH_HTTP_LISTEN: '127.0.0.1:0' } });
  assert.equal(second.code, 1);
  assert.ok(second.error.includes(String(first.process.pid)) && second.error.includes(dataDir), second.error);
  await first.kill();
  assert.ok(existsSync(join(dataDir, 'app.sock')), 'what kill -9 leaves');
  const third = await Multilith.start({ dataDir });
  assert.equal((await fetch(`${third.url}/readyz`)).status, 200);
  assert.equal(await third.stop(), 0);
});

test('a port that is taken is named, with what to do', async () => {
  const { port, free } = await portTaken();
  const { code, error } = await runCli(['start'], { env: { MULTILITH_DATA: freshDir(), MULTILITH_HTTP_LISTEN: `127.0.0.1:${port}` } });
  await free();
  assert.equal(code, 1);
  assert.ok(error.includes(String(port)) && error.includes('MULTILITH_HTTP_LISTEN='), error);
  assert.ok(!error.includes('    at '), 'no stack');
});

test('a wrong configuration is reported whole, with exit code 2, and no data directory is made', async () => {
  writeFileSync(join(root, 'wrong.yaml'), 'http: { listn: x }\nbus: { driver: rabbit }\nchannels: { email: { driver: smtp, password: tops3cret } }\n');
  const dataDir = join(root, 'never-made');
  const { code, error } = await runCli(['start', '--topology', join(root, 'wrong.yaml')], { env: { MULTILITH_DATA: dataDir } });
  assert.equal(code, 2);
  for (const part of ['http.listn', 'bus.driver', 'channels.email']) assert.ok(error.includes(part), error);
  assert.ok(!error.includes('tops3cret'), error);
  assert.equal(existsSync(dataDir), false);
});

test('a data directory that cannot be one is a clear error', async () => {
  const path = join(root, 'a-file');
  writeFileSync(path, '');
  const { code, error } = await runCli(['start'], { env: { MULTILITH_DATA: path } });
  assert.equal(code, 1);
  assert.ok(error.includes(path) && error.includes('MULTILITH_DATA'), error);
});

/** Each line of `code` runs in the server before the program does. */
const preload = (code: string) => ['--import', `data:text/javascript,${encodeURIComponent(code)}`];

test('a defect that nobody caught ends the process with exit code 1, after a log line', async () => {
  for (const plant of ['process.on("SIGUSR2", () => { throw new Error("planted"); })', 'process.on("SIGUSR2", () => { Promise.reject(new Error("planted")); })']) {
    const dataDir = freshDir();
    const server = await Multilith.start({ dataDir, execArgv: preload(plant) });
    const exited = once(server.process, 'exit');
    server.process.kill('SIGUSR2');
    assert.deepEqual((await exited)[0], 1);
    assert.match(server.output, /"level":"error".*planted/);
    await (await Multilith.start({ dataDir })).stop();
  }
});

test('a second signal ends a stop that hangs', async () => {
  const server = await Multilith.start({ dataDir: freshDir() });
  // A request that never ends holds the stop back until its deadline; "100 Continue" says that it has been taken.
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
  socket.write('POST /api/v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n');
  assert.match(String((await once(socket, 'data'))[0]), /100 Continue/);
  socket.on('error', () => {});
  const exited = once(server.process, 'exit');
  server.process.kill('SIGTERM');
  await once(server.process.stdout!, 'data');
  const startedAt = performance.now();
  server.process.kill('SIGTERM');
  await exited;
  assert.ok(performance.now() - startedAt < 2_000);
  socket.destroy();
});

test('a start that hangs can be stopped', async () => {
  // The port's listen never answers, so that the start never ends.
  const dataDir = freshDir();
  const child = spawn(process.execPath, [...preload(`import net from "node:net"; const listen = net.Server.prototype.listen; net.Server.prototype.listen = function (options, ...rest) { return options.path === undefined ? (setInterval(() => {}, 1e6), this) : listen.call(this, options, ...rest); };`), join(import.meta.dirname, '../../src/main.js'), 'start', '--set', 'shutdown.deadlineMs=100'], { env: { ...process.env, MULTILITH_DATA: dataDir, MULTILITH_HTTP_LISTEN: '127.0.0.1:0' }, stdio: 'ignore' });
  while (!(await isRunning(dataDir, 'app'))) await new Promise((resolve) => setTimeout(resolve, 20));
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual((await exited)[0], 1);
});

test('the command line explains itself', async () => {
  const overview = await runCli(['--help']);
  assert.equal(overview.code, 0);
  for (const command of ['start', 'plan', 'doctor', 'queues', 'demo']) {
    assert.ok(overview.out.includes(`  ${command} `), command);
    const help = await runCli([command, '--help']);
    assert.equal(help.code, 0);
    assert.match(help.out, /--topology FILE/);
  }
  assert.deepEqual([(await runCli(['strat'])).code, (await runCli(['start', '--prot', '1'])).code], [2, 2]);
  assert.match((await runCli(['strat'])).error, /"start"/);
});

test('plan and doctor find nothing wrong with the default, and say it to programs too', async () => {
  const env = { MULTILITH_DATA: freshDir(), MULTILITH_HTTP_LISTEN: '127.0.0.1:0', MULTILITH_SMTP_URL: '' };
  const plan = await runCli(['plan', '--json'], { env });
  assert.equal(plan.code, 0, plan.error);
  assert.deepEqual(JSON.parse(plan.out).plan.hosts[0].modules, ['portal', 'trigger', 'notification']);
  const doctor = await runCli(['doctor', '--json'], { env });
  assert.equal(doctor.code, 0, doctor.out);
  const checks = (JSON.parse(doctor.out) as { check: string }[]).map(({ check }) => check);
  assert.deepEqual(checks, ['configuration', 'node', 'clock', 'data', 'disk', 'file system', 'fsync', 'port', 'channel email', 'queues']);
});

test('doctor fails for an SMTP server that is not there and a port that is taken', async () => {
  const { port, free } = await portTaken();
  const { code, out } = await runCli(['doctor', '--json'], { env: { MULTILITH_DATA: freshDir(), MULTILITH_HTTP_LISTEN: `127.0.0.1:${port}`, MULTILITH_SMTP_URL: 'smtp://me:tops3cret@127.0.0.1:1' } });
  await free();
  assert.equal(code, 1);
  const failing = (JSON.parse(out) as { check: string; state: string; remedy: string }[]).filter(({ state }) => state === 'fail');
  assert.deepEqual(failing.map(({ check }) => check), ['port', 'channel email']);
  assert.ok(failing.every(({ remedy }) => remedy.length > 0));
  assert.ok(!out.includes('tops3cret'));
});
