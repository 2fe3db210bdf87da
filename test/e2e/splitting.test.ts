import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readConfig } from '../../src/app/config/config.ts';
import { parts } from '../../src/app/parts.ts';
import { bareEnvironment } from '../support/bare-environment.ts';
import { blocksOf } from '../support/markdown.ts';
import { Multilith } from '../support/multilith.ts';
import { freePort } from '../support/server-process.ts';
import { MailServer } from '../support/smtp-server.ts';
import { TestWorkspace } from '../support/workspace.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const page = readFileSync(join(root, 'docs/splitting.md'), 'utf8');
const [plan, [starts, looks], [back]] = ['## What moves, before anything moves', '## Two processes on one machine', '## And back'].map((heading) => blocksOf(page, 'sh', heading)) as [string[], [string, string], [string]];
const linesOf = (block: string) => block.trim().split('\n');

/** `npm run multilith -- …` without the set-up that has long been done; `exec` makes signals reach what it starts. */
const npm = (exec: '' | 'exec') => `npm() { [ "$1 $2 $3" = "run multilith --" ] || return 9; shift 3; ${exec} '${process.execPath}' '${join(root, 'dist/src/main.js')}' "$@"; }`;

/** Somebody's folder with the shipped topologies; their ports are free ones, in what the page says too. */
class Folder {
  readonly path = mkdtempSync(join(tmpdir(), 'multilith-'));
  readonly server: MailServer;
  readonly #ports: ReadonlyMap<string, number>;
  readonly #started: Multilith[] = [];

  private constructor(server: MailServer, ports: ReadonlyMap<string, number>) {
    this.server = server;
    this.#ports = ports;
    cpSync(join(root, 'config'), join(this.path, 'config'), { recursive: true });
    for (const name of readdirSync(join(this.path, 'config'))) writeFileSync(join(this.path, 'config', name), this.here(readFileSync(join(this.path, 'config', name), 'utf8')));
  }

  static async create(t: TestContext): Promise<Folder> {
    const ports = new Map<string, number>();
    for (const port of ['8080', '7071', '7072', '7073']) ports.set(port, await freePort());
    const folder = new Folder(await MailServer.start(), ports);
    t.after(() => folder.#dispose());
    return folder;
  }

  /** The same text with our ports. */
  here(text: string): string {
    return text.replace(/:(8080|707[123])\b/g, (_, port: string) => `:${this.#ports.get(port)}`);
  }

  get #env(): Record<string, string> {
    return { MULTILITH_HTTP_LISTEN: this.here('127.0.0.1:8080'), MULTILITH_SMTP_URL: this.server.url };
  }

  /** One line of the page that starts a host, as it stands there. */
  async start(line: string, dataDir = join(this.path, 'data')): Promise<Multilith> {
    const script = `cd '${this.path}'; ${npm('exec')}; ${line}`;
    const host = await Multilith.start({ dataDir, env: this.#env, wrapper: ['bash', '-euo', 'pipefail', '-c', script] });
    this.#started.push(host);
    return host;
  }

  startAll(lines: readonly string[]): Promise<Multilith[]> {
    return Promise.all(lines.map((line) => this.start(line)));
  }

  /** A block of the page, but for the ports; answers what it printed. */
  async run(block: string): Promise<string> {
    const env = { ...bareEnvironment(), PATH: `${dirname(process.execPath)}:${process.env.PATH}`, MULTILITH_DATA: join(this.path, 'data'), ...this.#env };
    const child = spawn('bash', ['-euo', 'pipefail', '-c', `${npm('')}\n${this.here(block)}`], { cwd: this.path, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
    const texts = { out: '', error: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (texts.out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (texts.error += text));
    const [code] = (await once(child, 'close')) as [number | null];
    assert.equal(code, 0, `${block}\n${texts.out}\n${texts.error}`);
    return texts.out;
  }

  async #dispose(): Promise<void> {
    await Promise.all(this.#started.map((host) => host.dispose()));
    await this.server.stop();
    rmSync(this.path, { recursive: true, force: true });
  }
}

const stopAll = async (hosts: readonly Multilith[]) => assert.deepEqual(await Promise.all(hosts.map((host) => host.stop())), hosts.map(() => 0), hosts.map(({ output }) => output).join('\n'));

/** People and two automations: one sends at once, one after a while, so that something always waits when hosts move. */
class Work {
  readonly workspace: TestWorkspace;
  readonly #automations: readonly string[];
  #people = 0;

  private constructor(workspace: TestWorkspace, automations: readonly string[]) {
    this.workspace = workspace;
    this.#automations = automations;
  }

  static async begin(multilith: Multilith): Promise<Work> {
    const workspace = await TestWorkspace.create(multilith);
    const templateId = await workspace.template({ subject: 'Hello {{ person.firstName }}', body: '<p>Hello</p>' });
    return new Work(workspace, [await workspace.automation('Joined', templateId), await workspace.automation('Joined', templateId, { waitMs: 1_500 })]);
  }

  /** Ten people more, and with them twenty mails, sooner or later. */
  async more(): Promise<void> {
    const ids = Array.from({ length: 10 }, () => `u${this.#people++}`);
    const answer = await this.workspace.send(ids.flatMap((userId) => [{ type: 'identify', userId, traits: { email: `${userId}@customer.example`, firstName: userId } }, { type: 'track', userId, event: 'Joined' }]));
    assert.equal(answer.status, 200);
  }

  async assertDone(server: MailServer): Promise<void> {
    for (const automationId of this.#automations) {
      const counts = await this.workspace.until(`/api/v1/automations/${automationId}/deliveries/counts`, (c) => c.audience === this.#people && c.pending === 0, 30_000);
      assert.equal(counts.sent, this.#people, JSON.stringify(counts));
    }
    const mails = await server.received(2 * this.#people);
    assert.equal(mails.length, 2 * this.#people);
    assert.deepEqual([...Map.groupBy(mails, ({ to }) => to[0]).values()].filter((own) => own.length !== 2), []);
  }
}

test('from one process to two and back, by the commands of the page: nothing is lost, and no mail comes twice', async (t) => {
  const folder = await Folder.create(t);
  const before = await folder.start(back);
  const work = await Work.begin(before);
  await work.more();

  const said = await folder.run(plan.join('\n'));
  assert.match(said, /module +notification +app → mailer/);
  assert.match(said, /portal → notification +inline → rpc/);
  await stopAll([before]);

  const apart = await folder.startAll(linesOf(starts));
  await work.more();
  await work.assertDone(folder.server);
  const seen = await folder.run(looks);
  assert.deepEqual(seen.match(/"problems":\[.*?\]/g), ['"problems":[]', '"problems":[]']);
  assert.match(seen, /notification\.send-requested/);
  await work.more();
  await stopAll(apart);

  await folder.start(back);
  await work.more();
  await work.assertDone(folder.server);
});

test('to a second machine, by the files that the page names: nothing is lost, and no mail comes twice', async (t) => {
  const folder = await Folder.create(t);
  const before = await folder.start(back);
  const work = await Work.begin(before);
  await work.more();
  await stopAll([before]);

  const [ours, theirs] = [join(folder.path, 'data'), join(folder.path, 'second')];
  mkdirSync(theirs);
  cpSync(join(ours, 'installation.json'), join(theirs, 'installation.json'));
  for (const name of readdirSync(ours)) if (name.startsWith('notification.sqlite')) renameSync(join(ours, name), join(theirs, name));
  const [app, mailer] = linesOf(starts);
  const apart = await Promise.all([folder.start(app!), folder.start(mailer!, theirs)]);
  await work.more();
  await work.assertDone(folder.server);
  await stopAll(apart);

  for (const name of readdirSync(theirs)) if (name.startsWith('notification.sqlite')) renameSync(join(theirs, name), join(ours, name));
  await folder.start(back);
  await work.more();
  await work.assertDone(folder.server);
});

test('the topology for two processes of one host has nothing wrong', () => {
  const [yaml] = blocksOf(page, 'yaml', '## Two processes of one host');
  const folder = mkdtempSync(join(tmpdir(), 'multilith-'));
  try {
    const topology = join(folder, 'two-mailers.yaml');
    writeFileSync(topology, yaml!);
    assert.deepEqual(readConfig({ topology, env: { POSTGRES_PASSWORD: 'known to both' }, cwd: folder }, parts).problems, []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the topology for two machines has nothing wrong, and wants a secret', () => {
  const [, indented] = /^ {3}```yaml\n([\s\S]*?)^ {3}```$/m.exec(page)!;
  const folder = mkdtempSync(join(tmpdir(), 'multilith-'));
  try {
    const topology = join(folder, 'two-machines.yaml');
    writeFileSync(topology, indented!.replace(/^ {3}/gm, ''));
    const problems = (env: NodeJS.ProcessEnv) => readConfig({ topology, env, cwd: folder }, parts).problems;
    assert.deepEqual(problems({ MULTILITH_PEER_SECRET: 'only the two hosts know it' }), []);
    assert.deepEqual([...new Set(problems({}).map(({ path }) => path))], ['peers.secret']);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
