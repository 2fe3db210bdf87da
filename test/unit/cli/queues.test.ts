import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { probe } from '../../../src/app/config/parts.ts';
import { createBus } from '../../../src/app/host/drivers.ts';
import { Backups } from '../../../src/app/backup/backups.ts';
import { controlListener } from '../../../src/app/control/desk.ts';
import { takeDataDir } from '../../../src/app/control/socket.ts';
import { BootProblem } from '../../../src/app/host/boot-problem.ts';
import { parts } from '../../../src/app/parts.ts';
import { parse, UsageError, type Io } from '../../../src/cli/command.ts';
import { queues } from '../../../src/cli/queues.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { newTrace } from '../../../src/kernel/call.ts';
import { DEFAULT_BACKOFF } from '../../../src/kernel/message.ts';
import type { Bus, PastTries } from '../../../src/ports/bus.ts';

const root = mkdtempSync(join(tmpdir(), 'multilith-queues-'));
after(() => rmSync(root, { recursive: true, force: true }));

async function run(dataDir: string, ...argv: string[]): Promise<string> {
  const lines: string[] = [];
  const io: Io = { env: { MULTILITH_DATA: dataDir }, cwd: root, out: (text) => lines.push(text), error: (text) => lines.push(text) };
  assert.equal(await queues.run(parse(queues, argv), io), 0);
  return lines.join('\n');
}
const runJson = async (dataDir: string, ...argv: string[]) => JSON.parse(await run(dataDir, ...argv, '--json'));

/** A data directory whose bus holds three dead messages and two that are due. */
async function filled(): Promise<string> {
  const dataDir = mkdtempSync(join(root, 'data-'));
  const bus = createBus({ driver: 'embedded', settings: parts.bus.embedded!.settings.parse({}) }, parts, probe(dataDir));
  await bus.start();
  await bus.declare({ name: 'q', topics: [], ordered: false, attempts: 1, backoff: DEFAULT_BACKOFF, delayMs: 0, personal: ['email'] });
  await publish(bus, 'd1', 'ws-1', 'd2', 'ws-1', 'd3', 'ws-2');
  let seen = 0;
  await new Promise<void>((resolve) => {
    void bus
      .consume('q', { concurrency: 1 }, async ({ id }) => {
        if (++seen === 3) resolve();
        return { kind: 'dead', reason: `because of ${id}${id === 'd3' ? '\x1b[2J\r\npayload' : ''}` };
      })
      .then((consumer) => consumer);
  });
  await bus.stop(5_000);
  const again = createBus({ driver: 'embedded', settings: parts.bus.embedded!.settings.parse({}) }, parts, probe(dataDir));
  await again.start();
  await publish(again, 'm1', 'ws-1', 'm2', 'ws-2');
  await again.stop(5_000);
  return dataDir;
}

async function publish(bus: Bus, ...idsAndWorkspaces: string[]): Promise<void> {
  const pairs = Array.from({ length: idsAndWorkspaces.length / 2 }, (_, at) => idsAndWorkspaces.slice(at * 2, at * 2 + 2) as [string, string]);
  await bus.publish(pairs.map(([id, workspace]) => ({ id, name: 'test.thing', to: { queue: 'q' }, workspace, key: null, lane: 'normal', time: Date.now(), trace: newTrace(), payload: JSON.stringify({ id, email: 'a@b.example' }) })));
}

const stateOf = async (dataDir: string) => (await runJson(dataDir, 'inspect', 'q')) as { ready: { normal: number }; dead: number; paused: boolean; pausedWorkspaces: string[] };
const idsOf = async (dataDir: string, ...argv: string[]) => ((await runJson(dataDir, 'browse', 'q', ...argv)) as { messages: { id: string }[] }).messages.map(({ id }) => id).sort();

test('while no host runs, the command line opens the bus itself', async () => {
  const dataDir = await filled();
  assert.match(await run(dataDir, 'list'), /q +2 +0 +0 of 0 +3 .* unattended/);
  assert.deepEqual(await idsOf(dataDir), ['m1', 'm2']);
  assert.deepEqual(await idsOf(dataDir, '--dead', '--workspace', 'ws-1'), ['d1', 'd2']);
  assert.deepEqual(await idsOf(dataDir, '--dead', '--reason', 'because of d3'), ['d3']);
  assert.deepEqual(await idsOf(dataDir, '--before', '2020-01-01T00:00:00Z'), []);
  const text = await run(dataDir, 'browse', 'q', '--dead');
  assert.match(text, /because of d1/);
  assert.match(text, /because of d3�\[2J��payload/, 'what a recipient says steers no terminal');
  assert.ok(!text.includes('a@b.example'), 'personal data is shown');
});

test('list and inspect tell of one workspace, and of the queues in one status', async () => {
  const dataDir = await filled();
  const [share] = await runJson(dataDir, 'list', '--workspace', 'ws-2');
  assert.deepEqual([share.depth, share.dead, share.status], [1, 1, 'unattended']);
  const { depth, dead, concurrency, lastPublished, lastTaken } = await runJson(dataDir, 'inspect', 'q', '--workspace', 'ws-1');
  assert.deepEqual([depth, dead, concurrency], [1, 2, 0]);
  assert.ok(lastPublished > lastTaken && lastTaken > 0);
  assert.match(await run(dataDir, 'inspect', 'q'), /last received +20\S+Z\n +last pulled +20/);
  assert.deepEqual(await runJson(dataDir, 'list', '--status', 'idle'), []);
  await run(dataDir, 'pause', 'q', '--workspace', 'ws-2');
  assert.deepEqual((await runJson(dataDir, 'list', '--status', 'paused', '--workspace', 'ws-2')).map(({ name }: { name: string }) => name), ['q']);
  assert.match(await run(dataDir, 'list'), /unattended, 1 workspace paused/);
});

test('pausing outlives the command, for a workspace and for all', async () => {
  const dataDir = await filled();
  await run(dataDir, 'pause', 'q', '--workspace', 'ws-1');
  assert.deepEqual((await stateOf(dataDir)).pausedWorkspaces, ['ws-1']);
  await run(dataDir, 'resume', 'q', '--workspace', 'ws-1');
  await run(dataDir, 'pause', 'q');
  assert.deepEqual([(await stateOf(dataDir)).paused, (await stateOf(dataDir)).pausedWorkspaces], [true, []]);
  await run(dataDir, 'resume', 'q');
  assert.equal((await stateOf(dataDir)).paused, false);
});

test('requeue and purge act on exactly the messages that were named', async () => {
  const dataDir = await filled();
  assert.deepEqual(await runJson(dataDir, 'requeue', 'q', '--ids', 'd1,nobody'), { queue: 'q', requeued: 1 });
  assert.deepEqual(await runJson(dataDir, 'purge', 'q', '--dead', '--workspace', 'ws-2'), { queue: 'q', purged: 1 });
  assert.deepEqual([(await stateOf(dataDir)).dead, (await stateOf(dataDir)).ready.normal], [1, 3]);
  assert.deepEqual(await runJson(dataDir, 'requeue', 'q', '--all'), { queue: 'q', requeued: 1 });
  assert.deepEqual(await runJson(dataDir, 'purge', 'q', '--all'), { queue: 'q', purged: 4 });
  assert.deepEqual([(await stateOf(dataDir)).dead, (await stateOf(dataDir)).ready.normal], [0, 0]);
});

test('browse tells what a message has been through, as text and as JSON', async () => {
  const dataDir = await filled();
  assert.doesNotMatch(await run(dataDir, 'browse', 'q', '--dead'), /history/, 'the reason says it all');
  await run(dataDir, 'requeue', 'q', '--ids', 'd1');
  assert.match(await run(dataDir, 'browse', 'q', '--ids', 'd1'), /\n +tries +0\n +history +20\S+Z: because of d1\n +20\S+Z: requeued\n +payload/);
  const { messages } = await runJson(dataDir, 'browse', 'q', '--ids', 'd1');
  assert.deepEqual(messages[0].history.map(({ times, reason }: PastTries) => [times, reason]), [[1, 'because of d1'], [1, null]]);
  const [, { first, last }] = messages[0].history as [PastTries, PastTries];
  assert.ok(first === last && Math.abs(Date.now() - last) < 60_000);
});

const wrong: readonly string[][] = [
  ['purge', 'q'],
  ['requeue', 'q'],
  ['purge', 'q', '--all', '--ids', 'x'],
  ['lst'],
  ['inspect'],
  ['browse', 'q', '--limit', '0'],
  ['browse', 'q', '--limit', 'many'],
  ['browse', 'q', '--before', 'noon'],
  ['list', 'q'],
  ['pause', 'q', 'r'],
  ['pause', 'q', '--quue'],
  ['pause', 'q', '--ids', 'd1'],
  ['list', '--ids', 'd1'],
  ['list', '--status', 'asleep'],
  ['inspect', 'q', '--status', 'idle'],
  ['inspect', 'q', '--dead'],
  ['browse', 'q', '--all'],
  ['requeue', 'q', '--all', '--limit', '1'],
  ['requeue', 'q', '--all', '--dead'],
  ['purge', 'q', '--all', '--after', 'x'],
];
test('what is not clear is refused and changes nothing', async () => {
  const dataDir = await filled();
  for (const argv of wrong) await assert.rejects(async () => run(dataDir, ...argv), UsageError, argv.join(' '));
  assert.deepEqual([(await stateOf(dataDir)).dead, (await stateOf(dataDir)).ready.normal], [3, 2]);
});

test('an option that an action does not know is refused with those that it knows', async () => {
  const dataDir = await filled();
  await assert.rejects(run(dataDir, 'requeue', 'q', '--limit', '1'), /--limit.*--all, --ids, --workspace, --name, --reason, --before/);
});

test('a data directory that is not there is not made', async () => {
  await assert.rejects(run(join(root, 'nowhere'), 'list'), /no data directory/);
});

test('looking for messages where none are kept makes nothing, and says who keeps them', async () => {
  const dataDir = mkdtempSync(join(root, 'data-'));
  await assert.rejects(run(dataDir, 'list', '--topology', 'split-notification'), (error) => error instanceof BootProblem && /The host app keeps them, at 127\.0\.0\.1:7071/.test(error.message) && /machine of app/.test(error.remedy));
  assert.deepEqual(readdirSync(dataDir), []);
});

test('looking at messages while no host runs leaves no sign of a host', async () => {
  const dataDir = await filled();
  const before = readdirSync(dataDir).filter((name) => !name.includes('.sqlite'));
  await run(dataDir, 'list');
  assert.deepEqual(readdirSync(dataDir).filter((name) => !name.includes('.sqlite')), before);
});

test('where the keeper of the messages does not run, another host of the topology is asked', async (t) => {
  const [kept, dataDir] = [await filled(), mkdtempSync(join(root, 'data-'))];
  const bus = createBus({ driver: 'embedded', settings: parts.bus.embedded!.settings.parse({}) }, parts, probe(kept));
  await bus.start();
  const mailer = await takeDataDir(dataDir, 'mailer');
  t.after(async () => {
    mailer.close();
    await bus.stop(5_000);
  });
  let away = false;
  const asked = new Proxy(bus, { get: (target, key) => (away && key === 'inspect' ? () => Promise.reject(new Fault('unavailable', 'Nobody is there.')) : (...args: unknown[]) => (target[key as keyof Bus] as Function).apply(target, args)) });
  mailer.on('request', controlListener({ bus: asked, backups: new Backups({ ...probe(dataDir), participants: () => [], expected: [] }), log: probe(dataDir).log, status: () => ({}), system: () => Promise.reject(new Error()), operator: () => undefined }));
  assert.match(await run(dataDir, 'list', '--topology', 'split-notification'), /q +2 +0 +0 of 0 +3 .* unattended/);
  await run(dataDir, 'pause', 'q', '--topology', 'split-notification');
  assert.equal((await bus.inspect())[0]!.paused, true);
  away = true;
  await assert.rejects(run(dataDir, 'list', '--topology', 'split-notification'), /app keeps the messages.*through mailer: Nobody is there/);
});

test('a queue that is not there is refused with those that are', async () => {
  const dataDir = await filled();
  for (const argv of [['inspect'], ['browse'], ['pause'], ['resume'], ['requeue', '--all'], ['purge', '--all']]) await assert.rejects(run(dataDir, argv[0]!, 'sendings', ...argv.slice(1)), /There is no queue sendings\. There are: q\./, argv[0]);
});
