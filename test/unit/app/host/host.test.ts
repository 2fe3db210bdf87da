import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { injectable } from 'inversify';
import { z } from 'zod';
import { blobDrivers } from '../../../../adapters/blob/catalog.ts';
import { busDrivers } from '../../../../adapters/bus/catalog.ts';
import { sharedCacheDrivers } from '../../../../adapters/cache/catalog.ts';
import { channelDrivers } from '../../../../adapters/channel/catalog.ts';
import { registryDrivers } from '../../../../adapters/registry/catalog.ts';
import { storageDrivers } from '../../../../adapters/storage/catalog.ts';
import { requireConfig } from '../../../../src/app/config/config.ts';
import type { Parts } from '../../../../src/app/config/parts.ts';
import { askHost, isRunning } from '../../../../src/app/control/client.ts';
import { BootProblem } from '../../../../src/app/host/boot-problem.ts';
import { Host } from '../../../../src/app/host/host.ts';
import { contract } from '../../../../src/kernel/contract.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { event } from '../../../../src/kernel/message.ts';
import { defineModule, type HttpSurface } from '../../../../src/kernel/module.ts';
import type { Registry } from '../../../../src/ports/registry.ts';
import { silentLog } from '../../../support/context.ts';

const happened = event('echo.happened', z.object({ n: z.number() }));
/** Answers held back until a test lets them go. */
const held: ServerResponse[] = [];
/** More than the sockets of both sides take at once. */
const LARGE_BYTES = 64 * 1024 * 1024;
let warm: Promise<void> = Promise.resolve();

@injectable()
class Echo {}
@injectable()
class Handler {
  async handle(): Promise<void> {}
}
@injectable()
class Warmth {
  start = () => warm;
  stop = async () => {};
}
@injectable()
class Greeting {
  lines = async () => ['hello operator'];
}
@injectable()
class Double {
  async run(request: unknown) {
    const n = (request as { n?: unknown } | null)?.n;
    if (typeof n !== 'number') throw new Fault('invalid', 'n must be a number', { reason: 'n_invalid' });
    return n * 2;
  }
}
@injectable()
class Surface implements HttpSurface {
  handle(request: IncomingMessage, response: ServerResponse): boolean {
    if (request.url === '/hello') response.end('hello');
    else if (request.url === '/slow') held.push(response);
    else if (request.url === '/live') response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    else if (request.url === '/large') held.push(response.end(Buffer.alloc(LARGE_BYTES)));
    else if (request.url === '/broken') throw new Error('a defect');
    else return false;
    return true;
  }
}

const echo = defineModule({
  name: 'echo',
  contract: contract<object>('echo', {}),
  implementation: Echo,
  calls: [],
  migrations: [],
  subscriptions: [{ message: happened, concurrency: 1, transactional: Handler }],
  publishes: [happened],
  settings: z.strictObject({}),
  parts: [Greeting, Double],
  lifecycles: [Warmth],
  http: Surface,
  greeting: Greeting,
  operator: { double: Double },
});
const parts: Parts = { modules: [echo], storage: storageDrivers, bus: busDrivers, channel: channelDrivers, blob: blobDrivers, registry: registryDrivers, cache: sharedCacheDrivers };

const root = mkdtempSync(join(tmpdir(), 'multilith-host-'));
after(() => rmSync(root, { recursive: true, force: true }));
const running: Host[] = [];
afterEach(async () => {
  for (const response of held.splice(0)) response.end();
  await Promise.allSettled(running.splice(0).map((host) => host.stop(2_000)));
});

function hostOn(dataDir: string, ...sets: string[]): Host {
  const { config } = requireConfig({ topology: 'default', env: {}, cwd: root, sets: ['hosts.app.modules=[echo]', 'http.listen=127.0.0.1:0', `data=${dataDir}`, ...sets] }, parts);
  const host = new Host(config, 'app', parts, { ...silentLog, flush() {} });
  running.push(host);
  return host;
}
const freshDir = () => mkdtempSync(join(root, 'data-'));

const statusOf = async (url: string) => fetch(url).then(async (response) => ({ status: response.status, body: await response.text() }));

test('a host answers probes, metrics, its modules, and says what is not there', async () => {
  const host = hostOn(freshDir());
  await host.start();
  const url = host.localUrl;
  assert.equal((await statusOf(`${url}/livez`)).status, 200);
  const ready = await statusOf(`${url}/readyz`);
  assert.deepEqual([ready.status, JSON.parse(ready.body).modules], [200, ['echo']]);
  assert.equal((await statusOf(`${url}/hello`)).body, 'hello');
  assert.equal((await statusOf(`${url}/nowhere`)).status, 404);
  assert.equal((await statusOf(`${url}/broken`)).status, 500);
  const { body: metrics } = await statusOf(`${url}/metrics`);
  for (const name of ['nodejs_eventloop_lag_p99_seconds', 'process_resident_memory_bytes', 'multilith_queue_messages{queue="echo.echo.happened",state="dead"} 0', 'multilith_http_answers_total{status="2xx"}']) assert.ok(metrics.includes(name), `${name} is missing`);
  assert.equal((await fetch(`${url}/livez`, { method: 'POST' })).status, 405);
  assert.deepEqual(await host.greetings(), ['hello operator']);
});

test('it is alive but not ready while its modules warm up', { timeout: 20_000 }, async (t) => {
  let finish = () => {};
  warm = new Promise((resolve) => (finish = resolve));
  const dataDir = freshDir();
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  const host = hostOn(dataDir, `http.listen=127.0.0.1:${port}`);
  const started = host.start();
  t.after(finish);
  while (!(await isRunning(dataDir, 'app')) || (await fetch(`http://127.0.0.1:${port}/livez`).catch(() => undefined)) === undefined) await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await statusOf(`http://127.0.0.1:${port}/livez`)).status, 200);
  assert.equal((await statusOf(`http://127.0.0.1:${port}/readyz`)).status, 503);
  assert.equal((await statusOf(`http://127.0.0.1:${port}/hello`)).status, 503);
  finish();
  await started;
  assert.equal((await statusOf(`http://127.0.0.1:${port}/readyz`)).status, 200);
});

test('stopping ends live streams, answers what is under way, refuses what is new, and frees the directory', async () => {
  const dataDir = freshDir();
  const host = hostOn(dataDir);
  await host.start();
  const url = host.localUrl;
  const live = await fetch(`${url}/live`, { headers: { accept: 'text/event-stream' } });
  const slow = fetch(`${url}/slow`);
  while (held.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const stopped = host.stop(20_000);
  assert.equal(await live.text(), 'data: 1\n\n');
  await assert.rejects(fetch(`${url}/hello`));
  held.splice(0)[0]!.end('answered');
  assert.equal(await (await slow).text(), 'answered');
  const answeredAt = Date.now();
  await stopped;
  // The client would keep its connection open for longer than that.
  assert.ok(Date.now() - answeredAt < 1_000);
  assert.equal(await isRunning(dataDir, 'app'), false);
  await host.stop(1);
});

test('a host that stops takes itself off the registry while it still answers; one that does not reply does not hold back the stop', async () => {
  const idle = defineModule({ ...echo, name: 'idle', contract: contract<object>('idle', {}), subscriptions: [], publishes: [] });
  let address = '';
  let answering: Promise<unknown> | undefined;
  const silent: Registry = {
    start: async () => {},
    stop: async () => {},
    announce: async (own) => void (address = own.address),
    withdraw: () => {
      const socket = connect(Number(address.split(':')[1]), '127.0.0.1');
      answering = new Promise((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false))).finally(() => socket.destroy());
      return new Promise(() => {});
    },
    watch: () => () => {},
    elect: () => assert.fail('nobody stands for an office'),
  };
  const both: Parts = { ...parts, modules: [echo, idle], registry: { silent: { name: 'silent', settings: z.strictObject({}), create: () => silent } } };
  const sets = ['hosts.app={ modules: [echo], listen: "127.0.0.1:0" }', 'hosts.other={ modules: [idle], listen: "127.0.0.1:0" }', 'bus.host=app', 'registry.driver=silent', 'http.listen=127.0.0.1:0', `data=${freshDir()}`];
  const host = new Host(requireConfig({ topology: 'default', env: {}, cwd: root, sets }, both).config, 'app', both, { ...silentLog, flush() {} });
  running.push(host);
  const started = host.start();
  const began = performance.now();
  await host.stop(20_000);
  await started.catch(() => {});
  assert.ok(performance.now() - began < 10_000, `the stop took ${performance.now() - began} ms`);
  assert.equal(await answering, true);
});

test('a client that holds its request back does not hold back the stop', async () => {
  const host = hostOn(freshDir());
  await host.start();
  const slow = assert.rejects(fetch(`${host.localUrl}/slow`));
  while (held.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const startedAt = Date.now();
  await host.stop(500);
  await slow;
  assert.ok(Date.now() - startedAt < 2_000);
});

test('a data directory has one host, which is named to the second', async () => {
  const dataDir = freshDir();
  await hostOn(dataDir).start();
  await assert.rejects(hostOn(dataDir).start(), (error) => error instanceof BootProblem && error.message.includes(String(process.pid)) && error.message.includes(dataDir));
});

test('of many that start at once on one directory, with a dead socket in it, one runs', async () => {
  const dataDir = freshDir();
  const dead = createServer().listen(join(dataDir, 'app.sock'));
  await new Promise((resolve) => dead.once('listening', resolve));
  const name = join(dataDir, 'app.sock');
  // What kill -9 leaves: the file, and nobody behind it.
  renameSync(name, `${name}.kept`);
  await new Promise((resolve) => dead.close(resolve));
  renameSync(`${name}.kept`, name);
  const results = await Promise.allSettled(Array.from({ length: 6 }, () => hostOn(dataDir).start()));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1, results.map((one) => (one.status === 'rejected' ? String(one.reason) : 'ok')).join('\n'));
});

test('a port that is taken is named, with a way out, and nothing is left behind', async () => {
  const dataDir = freshDir();
  const other = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => other.once('listening', resolve));
  const { port } = other.address() as { port: number };
  await assert.rejects(hostOn(dataDir, `http.listen=127.0.0.1:${port}`).start(), (error) => error instanceof BootProblem && error.message.includes(String(port)) && error.remedy.includes('MULTILITH_HTTP_LISTEN'));
  await new Promise((resolve) => other.close(resolve));
  const again = hostOn(dataDir, `http.listen=127.0.0.1:${port}`);
  await again.start();
  assert.equal((await statusOf(`${again.localUrl}/readyz`)).status, 200);
});

test('the secret is made once, for its owner only; a damaged file is not replaced', async () => {
  const dataDir = freshDir();
  const first = hostOn(dataDir);
  await first.start();
  const path = join(dataDir, 'installation.json');
  const before = readFileSync(path, 'utf8');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(join(dataDir, 'app.sock')).mode & 0o777, 0o600);
  assert.equal(Buffer.from(JSON.parse(before).secret, 'base64url').length, 32);
  await first.stop(2_000);
  const second = hostOn(dataDir);
  await second.start();
  assert.equal(readFileSync(path, 'utf8'), before);
  await second.stop(2_000);
  writeFileSync(path, before.slice(0, 20));
  await assert.rejects(hostOn(dataDir).start(), BootProblem);
  assert.equal(readFileSync(path, 'utf8'), before.slice(0, 20));
});

test('a file in the place of the data directory is refused in words', async () => {
  const path = join(root, 'a-file');
  writeFileSync(path, '');
  await assert.rejects(hostOn(path).start(), BootProblem);
  await assert.rejects(hostOn(join(path, 'below')).start(), BootProblem);
});

test('a data directory too far away for a socket is refused in words, one that is near is not', async () => {
  const far = join(root, ...Array.from({ length: 12 }, () => 'x'.repeat(20)));
  await assert.rejects(hostOn(far).start(), (error) => error instanceof BootProblem && error.message.includes(far));
  const before = process.cwd();
  process.chdir(far);
  try {
    await hostOn(join(far, 'data')).start();
    assert.ok(await isRunning(join(far, 'data'), 'app'));
    await running.pop()!.stop(2_000);
  } finally {
    process.chdir(before);
  }
});

test('the control socket tells the status, reaches the bus and the modules, and answers faults', async () => {
  const dataDir = freshDir();
  await hostOn(dataDir).start();
  const status = (await askHost(dataDir, 'app', 'GET', '/status')) as { pid: number; phase: string };
  assert.deepEqual([status.pid, status.phase], [process.pid, 'ready']);
  const [queue] = (await askHost(dataDir, 'app', 'POST', '/bus/inspect', {})) as { name: string }[];
  assert.equal(queue!.name, 'echo.echo.happened');
  assert.equal(await askHost(dataDir, 'app', 'POST', '/bus/pause', { queue: 'echo.echo.happened' }), null);
  assert.equal(await askHost(dataDir, 'app', 'POST', '/operator/echo/double', { n: 21 }), 42);
  const codeOf = (path: string, input: unknown) => askHost(dataDir, 'app', 'POST', path, input).then(() => 'done', (error: Fault) => `${error.code}/${error.reason}`);
  assert.equal(await codeOf('/operator/echo/double', {}), 'invalid/n_invalid');
  assert.equal(await codeOf('/operator/echo/nothing', {}), 'not_found/command_not_found');
  assert.equal(await codeOf('/operator/nobody/double', {}), 'not_found/command_not_found');
  assert.equal(await codeOf('/bus/constructor', {}), 'not_found/operation_not_found');
  assert.match(await codeOf('/bus/pause', { queue: 1 }), /^invalid/);
  assert.match(await codeOf('/bus/pause', 'x'.repeat(2_000_000)), /^(invalid\/too_large|unavailable)/);
});

test('what is no HTTP gets a clear answer and is cut off', async () => {
  const host = hostOn(freshDir(), 'http.headersTimeoutMs=300');
  await host.start();
  const { port } = new URL(host.localUrl);
  const say = (text: string) =>
    new Promise<string>((resolve) => {
      const socket = connect(Number(port), '127.0.0.1', () => socket.write(text));
      let answer = '';
      socket.on('data', (chunk) => (answer += String(chunk)));
      socket.on('error', () => {});
      socket.once('close', () => resolve(answer.split('\r\n')[0]!));
    });
  assert.match(await say('EHLO me\r\n\r\n'), /^HTTP\/1\.1 400/);
  assert.match(await say(`GET / HTTP/1.1\r\nhost: a\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431/);
  assert.match(await say('GET / HTTP/1.1\r\nhost: a\r\nx'), /^HTTP\/1\.1 408/);
  assert.match(await say('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'), /^HTTP\/1\.1 400/);
  const twoHosts = httpRequest({ port, path: '/livez' });
  twoHosts.end();
  await new Promise((resolve) => twoHosts.once('response', (response) => response.resume().once('end', resolve)));
});

test('a client that does not read what it asked for is cut off, one that reads gets the whole', { timeout: 20_000 }, async () => {
  const host = hostOn(freshDir(), 'http.stalledTimeoutMs=300');
  await host.start();
  const { port } = new URL(host.localUrl);
  const idle = connect(Number(port), '127.0.0.1', () => idle.pause().write('GET /large HTTP/1.1\r\nhost: a\r\n\r\n'));
  while (held.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const answer = held.splice(0)[0]!;
  await new Promise((resolve) => answer.once('close', resolve));
  assert.equal(answer.writableFinished, false);
  assert.equal(answer.socket?.destroyed ?? true, true);
  let bytes = 0;
  const gone = new Promise((resolve) => idle.on('data', (chunk) => (bytes += chunk.length)).on('error', () => {}).once('close', resolve));
  idle.resume();
  await gone;
  assert.ok(bytes < LARGE_BYTES, `${bytes} bytes`);
  assert.equal((await (await fetch(`${host.localUrl}/large`)).arrayBuffer()).byteLength, LARGE_BYTES);
});
