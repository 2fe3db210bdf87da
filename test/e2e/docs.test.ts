import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { keysAt } from '../../src/app/config/check.ts';
import { readConfig } from '../../src/app/config/config.ts';
import { VARIABLES } from '../../src/app/config/environment.ts';
import { ConfigSchema } from '../../src/app/config/schema.ts';
import { commands } from '../../src/cli/commands.ts';
import { parts } from '../../src/app/parts.ts';
import { bareEnvironment } from '../support/bare-environment.ts';
import { blocksOf } from '../support/markdown.ts';
import { Multilith } from '../support/multilith.ts';
import { PostgresServer } from '../support/postgres.ts';
import { freePort } from '../support/server-process.ts';
import { TestWorkspace } from '../support/workspace.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const page = (name: string) => readFileSync(join(root, name), 'utf8');
const scratch = mkdtempSync(join(tmpdir(), 'multilith-docs-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

async function run(program: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; out: string; error: string }> {
  const child = spawn(program, args, { cwd, env: { ...bareEnvironment(), PATH: `${dirname(process.execPath)}:${process.env.PATH}`, ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 });
  const texts = { out: '', error: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (texts.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (texts.error += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...texts };
}

/** `npm run multilith -- …` without the set-up that has long been done, on the server that the test runs. */
const NPM = `npm() { [ "$1 $2 $3" = "run multilith --" ] || { echo "not for a test: npm $*" >&2; return 9; }; shift 3; node ${join(root, 'dist/src/main.js')} "$@"; }`;

test("README's walk with curl ends with the mail in the outbox", async () => {
  const server = await Multilith.start();
  try {
    const link = /http:\S+\/setup\/\S+/.exec(server.output)![0];
    const script = blocksOf(page('README.md'), 'sh', '## The main job with curl').join('\n');
    const here = script.replace('http://127.0.0.1:8080', server.url).replace('$BASE/setup/…', link);
    assert.notEqual(here, script);
    const { code, out, error } = await run('bash', ['-euo', 'pipefail', '-c', here], scratch);
    assert.equal(code, 0, `${out}\n${error}\n${server.output}`);
    for (const said of ['{"success":true}', 'sent\n', 'Your Auto quote, Ana', 'Hello Ana, your estimate of $640 still holds.', '"sent":1']) assert.ok(out.includes(said), `${said} is not in:\n${out}`);
  } finally {
    await server.dispose();
  }
});

test("the operator's commands work as they stand", async () => {
  const server = await Multilith.start();
  try {
    for (const block of blocksOf(page('docs/operating.md'), 'sh')) {
      const { code, out, error } = await run('bash', ['-euo', 'pipefail', '-c', `${NPM}\n${block}`], scratch, { MULTILITH_DATA: server.dataDir });
      assert.equal(code, 0, `${block}\n${out}\n${error}`);
    }
  } finally {
    await server.dispose();
  }
});

test("the commands of the guide to queues work as they stand, on the command line and over the API", async () => {
  const server = await Multilith.start();
  try {
    const { key } = await TestWorkspace.create(server);
    const script = blocksOf(page('docs/queues.md'), 'sh').join('\n');
    const { code, out, error } = await run('bash', ['-euo', 'pipefail', '-c', `${NPM}\n${script}`], scratch, { MULTILITH_DATA: server.dataDir, BASE: server.url, KEY: key });
    assert.equal(code, 0, `${out}\n${error}`);
    assert.match(out, /^idle\n\[\]\npaused\nidle\n0 requeued$/m);
    const { asyncapi } = JSON.parse(readFileSync(join(scratch, 'contracts', 'asyncapi.json'), 'utf8')) as { asyncapi: string };
    assert.equal(asyncapi, '3.0.0');
  } finally {
    await server.dispose();
  }
});

test('the commands of the guide to moving the bus work as they stand, and the next start needs what they say', async () => {
  const server = await Multilith.start();
  const folder = mkdtempSync(join(scratch, 'moving-'));
  const env = { MULTILITH_DATA: server.dataDir };
  const script = (text: string) => run('bash', ['-euo', 'pipefail', '-c', `${NPM}\n${text}`], folder, env);
  try {
    const { code, out, error } = await script(blocksOf(page('docs/moving-the-bus.md'), 'sh').join('\n'));
    assert.equal(code, 0, `${out}\n${error}`);
    assert.match(out, /bus\.directory[\s\S]*bus move[\s\S]*All messages are in the new bus \(embedded, other\/bus\.sqlite\)[\s\S]*notification\.send-requested/);
    await server.stop();
    const refused = await script('npm run multilith -- start');
    assert.deepEqual([refused.code, /other-bus\.yaml/.test(refused.error)], [1, true], refused.error);
    const back = await script('npm run multilith -- bus move --to default --topology other-bus.yaml');
    assert.equal(back.code, 0, back.error);
  } finally {
    await server.dispose();
  }
});

test('the commands of the guide to backups work as they stand', async () => {
  const server = await Multilith.start();
  const folder = mkdtempSync(join(scratch, 'backup-'));
  try {
    const { code, out, error } = await run('bash', ['-euo', 'pipefail', '-c', `${NPM}\n${blocksOf(page('docs/backup.md'), 'sh').join('\n')}`], folder, { MULTILITH_DATA: server.dataDir });
    assert.equal(code, 0, `${out}\n${error}`);
    assert.match(out, /monday\.gz: all of[\s\S]*copy holds all of[\s\S]*Sending is held: this is a copy[\s\S]*Sending is released/);
  } finally {
    await server.dispose();
  }
});

test('the guide to workers works as it stands: its topology, its worker, and the commands that look after it', async (t) => {
  const folder = mkdtempSync(join(scratch, 'workers-'));
  for (const name of ['config', 'docs']) symlinkSync(join(root, name), join(folder, name));
  const guide = page('docs/workers.md');
  writeFileSync(join(folder, 'my-workers.yaml'), blocksOf(guide, 'yaml')[0]!);
  const [start] = blocksOf(guide, 'console');
  assert.match(start!, /single-server -- --topology my-workers\.yaml/);
  const port = await freePort();
  const postgres = await freePort();
  const stored = ['portal', 'trigger', 'notification'].flatMap((module) => ['--set', `storage.${module}.port=${postgres}`]);
  const ports = ['--set', `bus.port=${port}`, '--set', `registry.servers=[127.0.0.1:${await freePort()}]`, ...stored];
  const server = Multilith.launch({ dataDir: join(folder, 'data'), args: ['--with-servers', '--topology', 'my-workers.yaml', ...ports], typed: { command: [process.execPath, join(root, 'dist/src/main.js'), 'start'], cwd: folder } });
  t.after(() => server.dispose());
  await server.untilReady();
  const [work, look] = blocksOf(guide, 'sh');
  const worker = spawn('bash', ['-c', `exec env ${work}`], { cwd: folder, env: { ...bareEnvironment(), PORT: String(port) }, stdio: 'inherit' });
  t.after(() => worker.kill('SIGKILL'));
  const workspace = await TestWorkspace.create(server);
  for (const properties of [{ total: 70 }, { line: 'Auto' }]) await workspace.ask('POST', '/v1/track', { writeKey: workspace.key, userId: 'zoe', event: 'Order Placed', properties });
  await workspace.until('/api/v1/queues/worker.scores', ({ dead, depth, inFlight }) => dead === 1 && depth + inFlight === 0);
  const { code, out, error } = await run('bash', ['-euo', 'pipefail', '-c', `${NPM}\n${look}`], folder, { MULTILITH_DATA: server.dataDir });
  assert.equal(code, 0, error);
  assert.match(out, /^worker\.scores\n  status +idle[\s\S]*tries +1\n  reason +KeyError\('total'\)/);
  assert.equal(await server.stop(), 0);
});

test('the commands of the guide to storages work as they stand: moved while the host works, moved, found to differ, called off, and moved again', async () => {
  const postgres = await new PostgresServer().start();
  const folder = mkdtempSync(join(scratch, 'storing-'));
  const password = { MODULES_PASSWORD: 'secret' };
  const hosts: Multilith[] = [await Multilith.start({ env: password })];
  const [{ dataDir }] = hosts as [Multilith];
  const env = { ...password, MULTILITH_DATA: dataDir, ...postgres.environment };
  // The password that the page makes is not that of a host which runs already.
  const walk = (commands: string) => run('bash', ['-euo', 'pipefail', '-c', `${NPM}\nopenssl() { echo secret; }\n${commands}`], folder, env);
  const guide = page('docs/storage.md');
  try {
    const setUp = blocksOf(guide, 'sh', '## A role and a schema for each module');
    const offline = blocksOf(guide, 'sh').slice(setUp.length);
    const emptied = /for module in [^]*?done/.exec(offline.at(-1)!)![0];
    const live = blocksOf(guide, 'console', '### First with reads compared').join('').split('\n').filter((line) => line.startsWith('$ ')).map((line) => line.slice(2));
    const working = await walk([...setUp, ...live, emptied].join('\n'));
    assert.equal(working.code, 0, `${working.out}\n${working.error}`);
    assert.match(working.out, /reads of 1 workspace are made on both[\s\S]*reads of all are made on both[\s\S]*portal: following[\s\S]*The host works with the new storages[\s\S]*old storages count again for portal, trigger, notification/);
    await hosts[0]!.stop();
    const { code, out, error } = await walk(offline.join('\n'));
    assert.equal(code, 0, `${out}\n${error}`);
    assert.match(out, /The data is in the new storages[\s\S]*DIFFERS +setup_links[\s\S]*another row: secret_hash=sha256:[\s\S]*They differ\.[\s\S]*old storages count again for portal, trigger, notification[\s\S]*The data is in the new storages/);
    const topology = join(folder, 'postgres.yaml');
    hosts.push(await Multilith.start({ dataDir, args: ['--topology', topology], env: password }));
    assert.equal(postgres.query("select has_schema_privilege('multilith_trigger', 'portal', 'usage')", 'multilith'), 'f');
  } finally {
    for (const host of hosts) await host.dispose();
    await postgres.remove();
  }
});

test('the commands of the guides to segments, exports and imports work as they stand', async () => {
  const server = await Multilith.start();
  const folder = mkdtempSync(join(scratch, 'exports-'));
  try {
    const workspace = await TestWorkspace.create(server);
    await workspace.send([{ type: 'identify', userId: 'cust-1', traits: { email: 'ana@example.com', address: { city: 'Ghent' } } }, { type: 'track', userId: 'cust-1', event: 'Quote Requested' }]);
    await workspace.until('/api/v1/events', ({ items }) => items.length === 1);
    const env = { MULTILITH_DATA: server.dataDir, BASE: server.url, KEY: workspace.key };
    const segments = await run('bash', ['-euo', 'pipefail', '-c', blocksOf(page('docs/segments.md'), 'sh').join('\n')], folder, env);
    assert.deepEqual([segments.code, segments.out], [0, "1\n[ 'cust-1' ]\n2\n{}"], segments.error);
    const { code, out, error } = await run('bash', ['-euo', 'pipefail', '-c', `${NPM}\n${blocksOf(page('docs/exports.md'), 'sh').join('\n')}`], folder, env);
    assert.equal(code, 0, `${out}\n${error}`);
    const [people, again, events] = ['people.csv', 'people-too.csv', 'events.ndjson'].map((name) => readFileSync(join(folder, name), 'utf8'));
    assert.match(people!, /^personId,[^\n]*\r\n[^\n]*cust-1,ana@example\.com/);
    assert.equal(again, people);
    assert.equal((JSON.parse(events!) as { name: string }).name, 'Quote Requested');
    const imported = await run('bash', ['-euo', 'pipefail', '-c', blocksOf(page('docs/imports.md'), 'sh').join('\n')], folder, env);
    assert.deepEqual([imported.code, /"rowsAccepted":1,"rowsRefused":1/.test(imported.out)], [0, true], `${imported.out}\n${imported.error}`);
    assert.equal(readFileSync(join(folder, 'refused.csv'), 'utf8'), 'line,column,reason\r\n3,email,email_invalid\r\n');
  } finally {
    await server.dispose();
  }
});

test('the examples of topologies have nothing wrong', () => {
  const blocks = ['docs/operating.md', 'docs/workers.md', 'docs/exports.md', 'docs/storage.md'].flatMap((name) => blocksOf(page(name), 'yaml'));
  assert.ok(blocks.length > 0);
  for (const [index, block] of blocks.entries()) {
    const file = join(scratch, `example-${index}.yaml`);
    writeFileSync(file, block);
    assert.deepEqual(readConfig({ topology: file, env: { SMTP_PASSWORD: 'secret', S3_KEY_ID: 'key', S3_SECRET: 'secret', MODULES_PASSWORD: 'secret' }, cwd: scratch }, parts).problems, []);
  }
});

test("the operator's pages name every setting, variable and command", () => {
  const text = `${page('docs/operating.md')}${page('docs/storage.md')}`;
  const drivers = [parts.storage, parts.bus, parts.channel, parts.blob].flatMap((catalog) => Object.values(catalog));
  const settings = [...keysAt(ConfigSchema, []), ...['http', 'log', 'shutdown', 'hosts.x', 'calls.x'].flatMap((path) => keysAt(ConfigSchema, path.split('.')))];
  const own = [...drivers.map(({ settings: schema }) => schema), ...parts.modules.map((module) => module.settings)].flatMap((schema) => keysAt(schema, []));
  const missing = [...settings, ...own].filter((name) => !new RegExp(`[\`.]${name}[\`.]`).test(text));
  assert.deepEqual(missing, []);
  for (const { name } of VARIABLES) assert.ok(text.includes(`\`${name}\``), name);
  for (const name of Object.keys(commands)) assert.ok(`${text}${page('README.md')}`.includes(name), name);
});

test('the module and the adapter of the guide compile where they say they lie', async () => {
  const tree = join(scratch, 'tree');
  for (const folder of ['src', 'modules', 'adapters']) cpSync(join(root, folder), join(tree, folder), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  writeFileSync(join(tree, 'package.json'), page('package.json'));
  writeFileSync(join(tree, 'tsconfig.json'), JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions: { noEmit: true, incremental: false, tsBuildInfoFile: null, rootDir: tree }, include: ['modules/scoring', 'adapters/channel/pigeon'] }));
  const blocks = blocksOf(page('docs/extending.md'), 'ts');
  assert.equal(blocks.length, 4);
  for (const block of blocks) {
    const path = join(tree, /^\/\/ (\S+)\n/.exec(block)![1]!);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, block);
  }
  const { code, out } = await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', tree], tree);
  assert.equal(code, 0, out);
});

test('links to other pages lead somewhere', () => {
  for (const [name, folder] of [['README.md', root], ['docs/operating.md', join(root, 'docs')], ['docs/extending.md', join(root, 'docs')], ['docs/queues.md', join(root, 'docs')], ['docs/moving-the-bus.md', join(root, 'docs')], ['docs/backup.md', join(root, 'docs')], ['docs/workers.md', join(root, 'docs')], ['docs/storage.md', join(root, 'docs')], ['docs/segments.md', join(root, 'docs')]] as const) {
    for (const [, target] of page(name).matchAll(/\]\((?!https?:)([^)#]+)\)/g)) assert.ok(existsSync(join(folder, target!)), `${name} → ${target}`);
  }
});
