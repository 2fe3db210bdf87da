import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { Connection } from '../../adapters/bus/activemq/connection.ts';
import { ActiveMqSettings } from '../../adapters/bus/activemq/driver.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { bareEnvironment } from '../support/bare-environment.ts';
import { runCli } from '../support/cli.ts';
import { Multilith } from '../support/multilith.ts';
import { freePort } from '../support/server-process.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestWorkspace } from '../support/workspace.ts';

const root = join(import.meta.dirname, '..', '..', '..');
/** `npm` runs the same node as the test. */
const PATH = `${dirname(process.execPath)}:${process.env.PATH}`;

/** The repository as somebody has it who has cloned and built it, with nothing of ours beside it. */
function copy(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-single-server-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of ['package.json', 'package-lock.json', '.npmrc', 'tsconfig.json', 'tsconfig.product.json', 'scripts', 'config']) cpSync(join(root, name), join(folder, name), { recursive: true });
  for (const name of ['node_modules', 'src', 'modules', 'adapters', 'dist']) symlinkSync(join(root, name), join(folder, name));
  return folder;
}

/** The ids of all processes whose command line speaks of it. */
function processesOf(what: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && commandOf(name).includes(what)).map(Number);
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // It has just ended.
  }
}

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; !(await what()); await new Promise((resolve) => setTimeout(resolve, 20))) if (Date.now() > end) throw new Error('it has not come about');
}

async function ports() {
  const [broker, zookeeper, postgres] = [await freePort(), await freePort(), await freePort()];
  const stored = ['portal', 'trigger', 'notification'].flatMap((module) => ['--set', `storage.${module}.port=${postgres}`]);
  return { broker, postgres, args: ['--set', `bus.port=${broker}`, '--set', `registry.servers=[127.0.0.1:${zookeeper}]`, ...stored] };
}

test('one command runs the main job on PostgreSQL, ActiveMQ and ZooKeeper: through the death of the broker and of the database, and to a stop that leaves nothing', { timeout: 280_000 }, async (t) => {
  const folder = copy(t);
  // Where the copy has sources that were built by other means, the first command builds them.
  await promisify(execFile)('npm', ['run', 'multilith', '--', '--help'], { cwd: folder, env: { ...bareEnvironment(), PATH } });
  const data = join(folder, 'data');
  const mails = await MailServer.start();
  t.after(() => mails.stop());
  const { broker, postgres, args } = await ports();
  const server = Multilith.launch({ dataDir: data, args, env: { PATH, MULTILITH_DATA: '', MULTILITH_SMTP_URL: mails.url }, typed: { command: ['npm', 'run', 'single-server', '--'], cwd: folder } });
  t.after(() => server.dispose());
  await server.untilReady();
  assert.match(server.output, new RegExp(`servers +ActiveMQ at 127\\.0\\.0\\.1:${broker}, ZooKeeper at .*, PostgreSQL at 127\\.0\\.0\\.1:${postgres}`));
  const workspace = await TestWorkspace.create(server);
  await workspace.automation('Quote Requested', await workspace.template({ subject: 'Your quote, {{ person.firstName }}', body: '<p>Hello</p>' }));
  const quote = (userId: string) => workspace.send([{ type: 'identify', userId, traits: { email: `${userId}@customer.example`, firstName: userId } }, { type: 'track', messageId: userId, userId, event: 'Quote Requested' }]);
  await quote('zoe');
  await mails.received(1);

  const [first] = processesOf(`-Dmq.data=${data}`);
  process.kill(first!, 'SIGKILL');
  for (const userId of ['omar', 'ana', 'li']) assert.equal((await quote(userId)).status, 200, 'events are taken meanwhile');
  const all = await mails.received(4);
  assert.deepEqual(all.map(({ to }) => to[0]).sort(), ['ana', 'li', 'omar', 'zoe'].map((name) => `${name}@customer.example`));
  assert.notEqual(processesOf(`-Dmq.data=${data}`)[0], first);

  const database = join(data, 'postgresql');
  const [theirs] = processesOf(join(database, 'log'));
  assert.notEqual(statSync(`/proc/${theirs}`).uid, 0);
  process.kill(theirs!, 'SIGKILL');
  await until(async () => (await quote('kim')).status === 200);
  assert.ok((await mails.received(5)).some(({ to }) => to[0] === 'kim@customer.example'));

  const file = join(data, 'activemq', 'password');
  const password = readFileSync(file, 'utf8').trim();
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.ok(!server.output.includes(password) && processesOf(password).length === 0, 'the password is kept to itself');
  const connecting = (with_: object) => Connection.open(ActiveMqSettings.parse({ port: broker, username: 'multilith', ...with_ }), systemClock);
  for (const wrong of [{ password: 'guessed' }, { username: undefined }]) await assert.rejects(connecting(wrong), { reason: 'broker_refused' });
  (await connecting({ passwordFile: file })).close();
  const secret = readFileSync(join(database, 'password'), 'utf8').trim();
  assert.ok(!server.output.includes(secret) && processesOf(secret).length === 0);
  const asked = (user: string, password: string, sql: string) => spawnSync('psql', ['-X', '-A', '-t', '-h', '127.0.0.1', '-p', String(postgres), '-U', user, '-d', 'multilith', '-c', sql], { encoding: 'utf8', env: { PATH, PGPASSWORD: password } });
  assert.equal(asked('multilith_portal', secret, 'select count(*) from portal.people').stdout.trim(), '5');
  for (const [user, password, sql] of [['multilith_trigger', secret, 'select count(*) from portal.people'], ['multilith_portal', 'guessed', 'select 1'], ['postgres', secret, 'select 1']]) {
    assert.notEqual(asked(user!, password!, sql!).status, 0, `${user}: ${sql}`);
  }

  assert.equal(await server.stop(), 0, server.output);
  assert.deepEqual(processesOf(folder), []);
});

test('servers alone keep their passwords over restarts, and go with the process that has started them, however that ends', async (t) => {
  const data = mkdtempSync(join(tmpdir(), 'multilith-servers-'));
  t.after(() => rmSync(data, { recursive: true, force: true }));
  const args = [...(await ports()).args, '--set', 'registry={driver: static}'];
  const run = async () => {
    const child = spawn(process.execPath, [join(root, 'dist/src/main.js'), 'servers', '--topology', 'single-server', ...args], { cwd: root, env: { ...bareEnvironment(), MULTILITH_DATA: data }, stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    assert.match(String((await once(child.stdout, 'data'))[0]), /^Ready: ActiveMQ at 127\.0\.0\.1:\d+, PostgreSQL at 127\.0\.0\.1:\d+\. Data/);
    assert.equal(processesOf(`${data}/`).length, 2);
    return child;
  };
  const first = await run();
  const passwords = () => ['activemq', 'postgresql'].map((server) => readFileSync(join(data, server, 'password'), 'utf8'));
  const before = passwords();
  first.kill('SIGKILL');
  await until(() => processesOf(`${data}/`).length === 0);
  const second = await run();
  assert.deepEqual(passwords(), before);
  second.kill('SIGTERM');
  assert.deepEqual(await once(second, 'exit'), [0, null]);
  assert.deepEqual(processesOf(`${data}/`), []);
});

test('what is missing on the machine is named with the command that installs it, and a taken port with what to do', async (t) => {
  const env = { MULTILITH_DATA: join(copy(t), 'data') };
  const { broker, args } = await ports();
  const start = (more: NodeJS.ProcessEnv = {}) => runCli(['start', '--topology', join(root, 'config/single-server.yaml'), '--with-servers', ...args], { env: { ...env, ...more } });
  const bare = await start({ PATH: '/nowhere' });
  assert.equal(bare.code, 1);
  assert.match(bare.error, /apt-get install -y --no-install-recommends default-jre-headless$/m);
  const taken = createServer().listen(broker, '127.0.0.1');
  await once(taken, 'listening');
  const { code, error } = await start();
  taken.close();
  assert.equal(code, 1);
  assert.match(error, new RegExp(`Port ${broker}.*ActiveMQ.*\\n.*bus\\.port.*--with-servers`));
  const none = await runCli(['servers', '--topology', join(root, 'config/default.yaml')], { env });
  assert.deepEqual([none.code, /single-server/.test(none.error)], [1, true]);
});
