import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { BootProblem } from '../../src/app/host/boot-problem.ts';
import { enterStorage, noteStorageMove } from '../../src/app/host/storage-move-file.ts';
import { requireConfig } from '../../src/app/config/config.ts';
import { KeptStorages, type ModuleMove } from '../../src/app/host/kept-storages.ts';
import type { ModuleComparison } from '../../src/app/host/storage-mover.ts';
import { parts } from '../../src/app/parts.ts';
import { type Io, parse, UsageError } from '../../src/cli/command.ts';
import { backup } from '../../src/cli/backup.ts';
import { storage } from '../../src/cli/storage.ts';
import { contentTables } from '../../src/fabric/storage-tables.ts';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import { type CliResult, runCli } from '../support/cli.ts';
import { testContext } from '../support/context.ts';
import { MailTraffic } from '../support/mail-traffic.ts';
import { Multilith } from '../support/multilith.ts';
import { PostgresServer } from '../support/postgres.ts';
import { MailServer } from '../support/smtp-server.ts';
import { freePort } from '../support/server-process.ts';
import { layouts, TestSystem } from '../support/topologies.ts';

const MODULES = ['portal', 'trigger', 'notification'];
const postgres = new PostgresServer();
const mails = MailServer.start();
before(() => postgres.start());
after(async () => {
  await (await mails).stop();
  await postgres.remove();
});

interface Installation {
  readonly dataDir: string;
  /** Absolute: the topology that stores in PostgreSQL, under a schema for each module that begins with a prefix. */
  readonly target: string;
  readonly prefix: string;
  start(topology?: string, ...sets: string[]): Promise<Multilith>;
  /** `multilith storage` in this process. */
  command(...args: string[]): Promise<CliResult>;
}

async function installation(t: TestContext): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-'));
  const [dataDir, target] = [join(folder, 'data'), join(folder, 'target.yaml')];
  const prefix = `s${folder.slice(-6).toLowerCase().replaceAll(/[^a-z0-9]/g, '')}`;
  const section = postgres.section;
  writeFileSync(target, JSON.stringify({ extends: 'default', storage: Object.fromEntries(MODULES.map((name) => [name, { ...section, schema: `${prefix}-${name}` }])) }));
  const listen = `127.0.0.1:${await freePort()}`;
  const running: Multilith[] = [];
  t.after(async () => {
    for (const one of running) await one.dispose();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    dataDir, target, prefix,
    async start(topology, ...sets) {
      const multilith = await Multilith.start({ dataDir, env: { MULTILITH_SMTP_URL: (await mails).url, MULTILITH_HTTP_LISTEN: listen }, args: [...(topology === undefined ? [] : ['--topology', topology]), ...sets.flatMap((set) => ['--set', set])] });
      running.push(multilith);
      return multilith;
    },
    command: (...args) => run(args, { MULTILITH_DATA: dataDir }, folder),
  };
}

async function run(argv: readonly string[], env: NodeJS.ProcessEnv, cwd: string, command = storage): Promise<CliResult> {
  const said = { out: '', error: '' };
  const io: Io = { env, cwd, out: (text) => void (said.out += `${text}\n`), error: (text) => void (said.error += `${text}\n`) };
  try {
    return { code: await command.run(parse(command, argv), io), ...said };
  } catch (thrown) {
    if (thrown instanceof UsageError) return { code: 2, ...said, error: thrown.message };
    if (thrown instanceof BootProblem) return { code: 1, ...said, error: `${thrown.message}\n${thrown.remedy}` };
    throw thrown;
  }
}

function comparisons({ code, out, error }: CliResult, expected = 0): ModuleComparison[] {
  assert.equal(code, expected, `${out}\n${error}`);
  return JSON.parse(out) as ModuleComparison[];
}

test('an installation goes to PostgreSQL with everything in it, and only the storage that has the data can be started with', { timeout: 180_000 }, async (t) => {
  const { dataDir, target, prefix, start, command } = await installation(t);
  let host = await start();
  const traffic = await MailTraffic.over(host, await mails);
  await traffic.post(20);
  await traffic.mail();
  const running = await command('move', '--to', target);
  assert.deepEqual([running.code, /runs: app \(process \d+\)/.test(running.error)], [1, true], running.error);
  assert.equal(await host.stop(), 0);
  await assert.rejects(start(target), /data of portal is in another storage \(sqlite, portal\.sqlite\) [\s\S]*, which is empty[\s\S]*take the data along: multilith storage move[\s\S]* move storage-portal\.json and portal\.sqlite\* out/);

  const moved = comparisons(await command('move', '--to', target, '--json'));
  assert.deepEqual(moved.map(({ module, from, to }) => [module, from, to]), MODULES.map((name) => [name, `sqlite, ${name}.sqlite`, `postgres, 127.0.0.1:${postgres.port}/postgres, schema ${prefix}-${name}`]));
  assert.ok(moved.every(({ isSame, tables }) => isSame && tables.some(({ from }) => from.rows > 0)));
  await assert.rejects(start(), /has been moved to another storage[\s\S]*--topology \S*target\.yaml/);

  host = await start(target);
  await traffic.mail();
  await traffic.addsUp();
  assert.equal(await host.stop(), 0);
  const late = await command('back', '--to', target);
  assert.deepEqual([late.code, /lacks what came in since[\s\S]*take the data back/.test(late.error)], [1, true], late.error);

  // Another name for the same server, as after a failover; and what a start would leave behind, whatever became of the move's own records.
  const enter = (topology: string, ...sets: string[]) => {
    const { config } = requireConfig({ topology, env: { MULTILITH_DATA: dataDir }, cwd: dataDir, sets }, parts);
    return new KeptStorages({ config, parts, context: testContext({ dataDir }), readTopology: () => config }).enter();
  };
  await enter(target, 'storage.portal.host=localhost');
  await assert.rejects(enter(target, 'storage.portal.schema=elsewhere'), /names \(postgres, .*schema elsewhere, which is empty\)/);
  const ofNothing = await run([join(dataDir, 'nothing.gz'), '--topology', target, '--set', 'storage.portal.schema=elsewhere'], { MULTILITH_DATA: dataDir }, dataDir, backup);
  assert.deepEqual([ofNothing.code, /nothing in the database of portal \(postgres, .*schema elsewhere\)/.test(ofNothing.error)], [1, true], ofNothing.error);
  for (const module of MODULES) rmSync(join(dataDir, `storage-move-${module}.json`));
  await assert.rejects(enter('default'), /another storage \(postgres, .*-portal\) than this configuration names \(sqlite, portal\.sqlite\)/);
  for (const end of ['', '-wal', '-shm', '-lock']) rmSync(join(dataDir, `portal.sqlite${end}`), { force: true });
  await assert.rejects(enter('default'), /sqlite, portal\.sqlite, which is empty/);
  // A data directory of a build that noted nothing.
  for (const module of MODULES) rmSync(join(dataDir, `storage-${module}.json`));
  await enter(target);
  await assert.rejects(enter(target, 'storage.trigger.schema=elsewhere'), /data of trigger is in another storage \(\S*trigger\.sqlite\)/);
});

test('a copy that differs is not switched to, and a move can be called off and repeated until a host has worked with the new storage', { timeout: 120_000 }, async (t) => {
  const { dataDir, target, prefix, start, command } = await installation(t);
  await (await start()).stop();
  const record = join(dataDir, 'storage-move-portal.json');
  const stateOf = () => (JSON.parse(readFileSync(record, 'utf8')) as { state: string }).state;
  const only = ['--to', target, '--module', 'portal'];
  // As a host leaves it that was killed in the middle of a live move.
  const portal = () => storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...testContext({ dataDir }), name: 'portal' });
  const killed = portal();
  await killed.start();
  await killed.contents.startRecording((await contentTables(killed)).filter(({ key }) => key.length > 0));
  await killed.stop(1_000);
  const place = `postgres, 127.0.0.1:${postgres.port}/postgres, schema ${prefix}-portal`;
  await noteStorageMove(dataDir, 'portal', { from: 'sqlite, portal.sqlite', to: place, topology: target, state: 'begun', indexes: [] });
  assert.equal((await command('back', ...only)).code, 0);
  const calledOff = portal();
  await calledOff.start();
  const left = await calledOff.snapshot();
  assert.ok(!existsSync(record) && !left.tables.some(({ name }) => name === 'storage_changes'), 'changes are still recorded');
  await left.close();
  await calledOff.stop(1_000);

  comparisons(await command('move', ...only, '--json'));
  assert.equal(stateOf(), 'moved');
  for (let twice = 0; twice < 2; twice++) assert.equal((await command('back', ...only)).code, 0);
  assert.ok(!existsSync(record));

  const inTheWay = await command('move', ...only);
  assert.deepEqual([inTheWay.code, /holds something already[\s\S]*drop schema/.test(inTheWay.error)], [1, true], inTheWay.error);
  postgres.query(`drop schema "${prefix}-portal" cascade`);
  comparisons(await command('move', ...only, '--json'));
  postgres.query(`update "${prefix}-portal".setup_links set expires_at = expires_at + 1`);
  const [differs] = comparisons(await command('compare', ...only, '--json'), 1);
  assert.deepEqual(differs!.tables.filter(({ isSame }) => !isSame).map(({ table, differences }) => [table, differences.map(({ what }) => what)]), [['setup_links', ['differs']]]);
  assert.equal(stateOf(), 'moved');
  const refused = await command('move', ...only);
  assert.deepEqual([refused.code, /DIFFERS +setup_links[\s\S]*another row: secret_hash=sha256:[0-9a-f]{16}[\s\S]*nothing was switched/.test(refused.out)], [1, true], refused.out);
  assert.equal(stateOf(), 'begun');

  const again = await command('move', ...only);
  assert.deepEqual([again.code, /same +setup_links +1 row +[0-9a-f]{16}[\s\S]*The data is in the new storages/.test(again.out)], [0, true], again.out);
  assert.match(again.error, /portal\.setup_links: copying, 1 row/, 'copied anew');
  assert.deepEqual(postgres.query(`select count(*) from pg_indexes where schemaname = '${prefix}-portal' and indexname = 'events_by_person'`), '1');

  // The way back needs a file that nobody has kept anything in.
  const back = ['--to', 'default', '--topology', target, '--module', 'portal'];
  await enterStorage(dataDir, 'portal', place);
  const occupied = await command('move', ...back);
  assert.deepEqual([occupied.code, /holds something already/.test(occupied.error)], [1, true], occupied.error);
  for (const end of ['', '-wal', '-shm', '-lock']) rmSync(join(dataDir, `portal.sqlite${end}`), { force: true });
  assert.ok(comparisons(await command('move', ...back, '--json')).every(({ isSame }) => isSame));
  await (await start()).stop();
  assert.equal(stateOf(), 'used');
});

test('a host that works goes to PostgreSQL, is killed, turned back, and moved for good, and each event becomes one mail', { timeout: 180_000 }, async (t) => {
  const { dataDir, target, prefix, start, command } = await installation(t);
  const stateOf = (module: string) => (JSON.parse(readFileSync(join(dataDir, `storage-move-${module}.json`), 'utf8')) as { state: string }).state;
  let host = await start();
  const traffic = await MailTraffic.over(host, await mails);
  await traffic.mail();
  const [nobody] = await Promise.all([command('status'), traffic.mail()]);
  assert.deepEqual([nobody.code, nobody.out], [0, 'Nothing is being moved.\n'], nobody.error);
  const following = await command('move', '--live', '--read', 'all', '--to', target);
  assert.deepEqual([following.code, /The old storages count, the new ones follow, and reads of all are made on both/.test(following.out)], [0, true], following.error);
  await traffic.mail();
  for (const list of ['people', 'automations', 'deliveries']) await traffic.workspace.ask('GET', `/api/v1/${list}`);
  const reads = (JSON.parse((await command('status', '--json')).out) as ModuleMove[]).map(({ module, progress }) => ({ module, state: progress!.state, ...progress!.reads! }));
  assert.deepEqual(reads.map(({ module, state, same, behind, waiting, differed, failed }) => [module, state, same + behind + waiting > 0, differed, failed]), MODULES.map((name) => [name, 'following', true, 0, 0]));
  assert.match((await command('status')).out, /portal: following, sqlite.*\n  reads of all: [\d,]+ answers? the same, 0 differ[^]*half of them within/);
  const refused = await runCli(['backup', join(dataDir, 'backup.gz')], { env: { MULTILITH_DATA: dataDir } });
  assert.deepEqual([refused.code, /being moved/.test(refused.error)], [1, true], refused.error);
  await host.kill();
  // Wherever the module then runs in the process.
  host = await start(undefined, 'calls.notification.via=thread');
  await traffic.mail();
  const slowest = traffic.ingesting();
  const moved = await command('move', '--live', '--to', target, '--json');
  const slowestMs = await slowest();
  assert.equal(moved.code, 0, `${moved.out}\n${moved.error}`);
  const moves = JSON.parse(moved.out) as ModuleMove[];
  const heldMs = Math.max(...moves.map(({ progress }) => progress!.longestHoldMs));
  t.diagnostic(`transactions were held back for ${heldMs} ms at most; the slowest answer to an event took ${slowestMs} ms`);
  assert.deepEqual(moves.map(({ module, progress }) => [module, progress!.state, progress!.compared.every(({ isSame }) => isSame)]), MODULES.map((name) => [name, 'switched', true]));
  assert.ok(heldMs <= 1_000, `held back for ${heldMs} ms`);
  await traffic.mail();

  await host.kill();
  const tooEarly = await command('move', '--to', target);
  assert.deepEqual([tooEarly.code, /not finished/.test(tooEarly.error)], [1, true], tooEarly.error);
  await assert.rejects(start(target), /follows until that is finished/);
  // Without a host, too.
  const offline = await command('back', '--to', target, '--module', 'trigger');
  assert.equal(offline.code, 0, offline.error);
  host = await start();
  await traffic.mail();
  assert.equal(stateOf('portal'), 'switched');
  const back = await command('back', '--to', target, '--module', 'portal', '--module', 'notification');
  assert.equal(back.code, 0, back.error);
  for (const module of MODULES) assert.ok(!existsSync(join(dataDir, `storage-move-${module}.json`)));
  await traffic.mail();

  for (const module of MODULES) postgres.query(`drop schema "${prefix}-${module}" cascade`);
  const again = await command('move', '--live', '--to', target);
  assert.equal(again.code, 0, again.error);
  assert.match(again.out, /same +events[\s\S]*storage finish --to/);
  const finished = await command('finish', '--to', target);
  assert.deepEqual([finished.code, stateOf('portal')], [0, 'used'], finished.error);
  assert.equal(await host.stop(), 0);
  host = await start(target);
  await traffic.mail();
  await traffic.addsUp();
  assert.equal(postgres.query("select count(*) from pg_tables where tablename = 'storage_changes'"), '0');
});

test('the data of modules on several hosts is moved host by host, where each runs', { timeout: 180_000 }, async (t) => {
  const system = await TestSystem.start(layouts['notification over rpc'], { env: { MULTILITH_SMTP_URL: (await mails).url } });
  t.after(() => system.dispose());
  const { target } = await installation(t);
  const command = (word: string, ...args: string[]) => run([word, ...args, '--to', target, '--topology', system.topology], { MULTILITH_DATA: system.dataDir }, system.dataDir);
  const traffic = await MailTraffic.over(system.host('app'), await mails);
  await traffic.mail();
  const together = await command('move', '--live');
  assert.deepEqual([together.code, /portal on app, trigger on app, notification on mailer/.test(together.error)], [2, true], together.error);
  const stopLoad = traffic.ingesting();
  const moved = await command('move', '--live', '--module', 'notification');
  assert.equal(moved.code, 0, moved.error);
  await stopLoad();
  await traffic.mail();
  const finished = await command('finish', '--module', 'notification');
  assert.equal(finished.code, 0, finished.error);
  await traffic.addsUp();
});

test('wrong use of the command is named', async (t) => {
  const { target, command } = await installation(t);
  for (const [args, said] of [
    [[], /needs to know what to do/],
    [['mvoe', '--to', target], /Did you mean "move"/],
    [['move'], /--to FILE/],
    [['move', '--to', 'default'], /same storage for every module/],
    [['move', '--to', target, '--module', 'portl'], /no module portl/],
    [['back', '--to', target, '--read', 'all'], /goes with storage move --live/],
    [['move', '--live', '--to', target, '--read', 'all,acme'], /"all" is none/],
  ] as const) {
    const { code, error } = await command(...args);
    assert.deepEqual([code, said.test(error)], [2, true], error);
  }
  const stopped = await command('move', '--live', '--to', target);
  assert.deepEqual([stopped.code, /No host works here that runs portal, trigger, notification\.\nStart app/.test(stopped.error)], [1, true], stopped.error);
  const nothing = await command('move', '--to', target);
  assert.deepEqual([nothing.code, /no data directory/.test(nothing.error)], [1, true], nothing.error);
});
