import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { Backups } from '../../../../src/app/backup/backups.ts';
import { closedDatabases, liveProblem } from '../../../../src/app/backup/databases.ts';
import { OwnDesk } from '../../../../src/app/backup/own-desk.ts';
import { restore } from '../../../../src/app/backup/restore.ts';
import { requireWhole } from '../../../../src/app/backup/unfinished.ts';
import { type Config, requireConfig } from '../../../../src/app/config/config.ts';
import { probe } from '../../../../src/app/config/parts.ts';
import { BootProblem } from '../../../../src/app/host/boot-problem.ts';
import { prepareDataDir } from '../../../../src/app/host/data-dir.ts';
import { createBus } from '../../../../src/app/host/drivers.ts';
import { installationSecret } from '../../../../src/app/host/installation.ts';
import { readHold } from '../../../../src/app/host/sending-hold.ts';
import { parts } from '../../../../src/app/parts.ts';
import { fabricMigrations } from '../../../../src/fabric/tables.ts';
import { statement, type Storage } from '../../../../src/ports/storage.ts';
import { bareEnvironment } from '../../../support/bare-environment.ts';
import { PostgresServer } from '../../../support/postgres.ts';
import { withDeadLetters } from '../../../support/dead-letters.ts';

const MAIN = join(import.meta.dirname, '../../../../src/main.js');
const root = mkdtempSync(join(tmpdir(), 'multilith-backup-'));
const postgres = new PostgresServer();
before(() => postgres.start());
after(async () => {
  await postgres.remove();
  rmSync(root, { recursive: true, force: true });
});

const PEOPLE = 700;
const AWKWARD = 'naïve 🎉 \u{10ffff} "\n\\';
let made = 0;

function configFor(dataDir: string, storage?: object): Config {
  const topology = join(root, `${++made}.yaml`);
  writeFileSync(topology, JSON.stringify({ extends: 'default', data: dataDir, ...(storage && { storage: { default: storage } }) }));
  return requireConfig({ topology, env: {}, cwd: root }, parts).config;
}

/** The databases of an installation, open for the time of the work. */
async function withDatabases<T>(config: Config, work: (databases: ReadonlyMap<string, Storage>) => Promise<T>, of = parts): Promise<T> {
  const databases = new Map([...(await closedDatabases(config, of))].map(([name, { open }]) => [name, open()]));
  try {
    for (const storage of databases.values()) await storage.start();
    return await work(databases);
  } finally {
    for (const storage of databases.values()) await storage.stop(5_000);
  }
}

/** An installation with people, a message in an outbox, dead letters on the bus and a kept mail. */
async function installation(config: Config, of = parts): Promise<void> {
  const { dataDir } = config;
  prepareDataDir(dataDir);
  await withDatabases(config, async (databases) => {
    installationSecret(dataDir);
    for (const { name, migrations } of of.modules) await databases.get(name)!.migrate([...fabricMigrations, ...migrations]);
    const portal = databases.get('portal')! as Storage<any>;
    await portal.transaction(async (tx) => {
      await tx.db.insertInto('workspaces').values({ id: 'w', name: AWKWARD, created_at: 1 }).execute();
      await tx.db.insertInto('users').values({ id: 'u', email: 'a@example.com', email_key: 'a@example.com', password_hash: 'x', created_at: 1, operator: 1 }).execute();
      await tx.db.insertInto('memberships').values({ workspace_id: 'w', user_id: 'u', role: 'owner', created_at: 2 ** 53 - 1 }).execute();
      for (let n = 0; n < PEOPLE; n++) await tx.db.insertInto('identities').values({ workspace_id: 'w', kind: 'user', value: `u${n} ${AWKWARD}`, person_id: `p${n}` }).execute();
      for (const id of ['first', 'second']) await tx.db.insertInto('fabric_outbox').values({ id, kind: 'event', name: 'n', workspace: null, message_key: null, lane: 'bulk', time: 1, trace_id: 't', span_id: 's', not_before: null, payload: '{}' }).execute();
    }, { timeoutMs: 60_000 });
    await (databases.get('email-outbox')! as Storage<any>).transaction((tx) => tx.db.insertInto('mails').values({ id: 'm', workspace: 'w', delivery_id: 'd', stored_at: 1, bytes: 3, raw: new Uint8Array([0, 128, 255]) }).execute());
  });
  const bus = createBus(config.bus, parts, probe(dataDir));
  await bus.start();
  await withDeadLetters(bus, 'suite.dead', [{ id: 'm1', workspace: 'w', reason: 'mailbox full' }]);
  await bus.stop(5_000);
}

async function backUp(config: Config, file: string): Promise<string> {
  const ended = await withDatabases(config, (databases) => {
    const backups = new Backups({ ...probe(config.dataDir), participants: () => [{ name: 'this', desk: new OwnDesk({ databases }) }], expected: [...databases.keys()] });
    backups.begin(file);
    return backups.ended();
  });
  assert.equal(ended.state, 'done', ended.problem!);
  return ended.file;
}

const restoreTo = (config: Config, file: string) => restore({ file, config, parts, now: new Date(), onTable: () => {} });

/** Its lines without the first, which says when it was made. */
function contentsOf(file: string): string[] {
  const lines = gunzipSync(readFileSync(file)).toString('utf8').trimEnd().split('\n').slice(1, -1);
  return lines.sort();
}

test('a copy in PostgreSQL, and a copy of that in SQLite, hold what the first one does', async () => {
  const [first, second, third] = [configFor(join(root, 'first')), configFor(join(root, 'second'), postgres.section), configFor(join(root, 'third'))];
  await installation(first);
  const files = [await backUp(first, join(root, 'first.gz'))];
  assert.equal((await restoreTo(second, files[0]!)).rows > PEOPLE, true);
  files.push(await backUp(second, join(root, 'second.gz')));
  await restoreTo(third, files[1]!);
  files.push(await backUp(third, join(root, 'third.gz')));
  const [one, two, three] = files.map(contentsOf);
  assert.ok(one!.length > PEOPLE);
  assert.deepEqual(two, one);
  assert.deepEqual(three, one);
  assert.equal(readFileSync(join(third.dataDir, 'installation.json'), 'utf8'), readFileSync(join(first.dataDir, 'installation.json'), 'utf8'));
  assert.ok(readHold(third.dataDir));
  // What numbers itself goes on behind what is there, in the same order.
  await withDatabases(second, async (databases) => {
    const portal = databases.get('portal')! as Storage<any>;
    await portal.transaction((tx) => tx.db.insertInto('fabric_outbox').values({ id: 'third', kind: 'event', name: 'n', workspace: null, message_key: null, lane: 'bulk', time: 1, trace_id: 't', span_id: 's', not_before: null, payload: '{}' }).execute());
    assert.deepEqual((await portal.db.selectFrom('fabric_outbox').select('id').orderBy('seq').execute()).map(({ id }) => id), ['first', 'second', 'third']);
  });
  // Neither is overwritten.
  await assert.rejects(restoreTo(third, files[0]!), /is not empty/);
  await assert.rejects(restoreTo(configFor(join(root, 'fourth'), postgres.section), files[0]!), /portal is not empty/);
});

test('a backup that is cut off, changed anywhere, or of a newer build is refused and leaves nothing', async () => {
  const config = configFor(join(root, 'whole'));
  await installation(config);
  const bytes = readFileSync(await backUp(config, join(root, 'whole.gz')));
  const lines = gunzipSync(bytes).toString('utf8').trimEnd().split('\n');
  const changed = (change: (lines: string[]) => string[]) => gzipSync(change([...lines]).map((line) => `${line}\n`).join(''));
  const header = JSON.parse(lines[0]!) as { format: number; databases: { name: string; migrations: string[] }[] };
  const cases: Record<string, [Buffer, RegExp]> = {
    'cut in the file': [bytes.subarray(0, bytes.length / 2), /cut off or damaged/],
    'without its end': [changed((all) => all.slice(0, -1)), /cut off or damaged/],
    'without a row': [changed((all) => all.filter((line) => !line.includes('u17 '))), /cut off or damaged/],
    'with a row of its own': [changed((all) => all.map((line) => line.replace('u17 ', 'u18 '))), /cut off or damaged/],
    'with another header': [changed((all) => [all[0]!.replace('2026', '2025').replace('portal', 'porter'), ...all.slice(1)]), /cut off or damaged/],
    'of a newer format': [changed((all) => [JSON.stringify({ ...header, format: 2 }), ...all.slice(1)]), /newer build \(format 2\)/],
    'no backup': [gzipSync('{"a":1}\n'), /no backup of Multilith/],
    'no gzip': [Buffer.from('SQLite format 3'), /no backup of Multilith/],
  };
  for (const [name, [content, words]] of Object.entries(cases)) {
    const [file, target] = [join(root, 'case.gz'), join(root, 'case')];
    writeFileSync(file, content);
    await assert.rejects(restoreTo(configFor(target), file), (error: Error) => error instanceof BootProblem && words.test(error.message), name);
    assert.equal(existsSync(target), false, name);
  }
});

test('a small file that holds a line without end is refused at once, and a long line costs what it is long', { timeout: 10_000 }, async () => {
  const long = Buffer.alloc(32 * 1_048_576, 'a');
  const file = join(root, 'long.gz');
  const header = { multilith: 'backup', format: 1, created: '', installation: '', databases: [] };
  for (const [before, words] of [['', /no backup of Multilith/], [`${JSON.stringify(header)}\n`, /cut off or damaged/]] as const) {
    writeFileSync(file, gzipSync(Buffer.concat([Buffer.from(before), long]), { level: 1 }));
    await assert.rejects(restoreTo(configFor(join(root, 'long')), file), words);
  }
});

test('a restore that was broken off leaves a folder that no host and no other restore takes', async () => {
  const config = configFor(join(root, 'broken'));
  await installation(config);
  const file = await backUp(config, join(root, 'broken.gz'));
  // The schemas hold the data of the first test: the storage refuses in the middle.
  const target = configFor(join(root, 'broken-copy'), postgres.section);
  await assert.rejects(restoreTo(target, file), /is not empty/);
  assert.throws(() => requireWhole(target.dataDir), /has not come to its end/);
  assert.equal(existsSync(join(target.dataDir, 'installation.json')), false);
  await assert.rejects(restoreTo(configFor(target.dataDir), file), /has not come to its end/);
});

test('a backup that is killed leaves no file that looks whole', { timeout: 60_000 }, async () => {
  const config = configFor(join(root, 'killed'));
  await installation(config);
  await withDatabases(config, async (databases) => {
    const problem = statement<any, { id: string; detail: string }>()((db, p) => db.insertInto('ingest_problems').values({ id: p('id'), workspace_id: 'w', time: 1, message_id: null, type: null, reason: 'r', detail: p('detail') }));
    await databases.get('portal')!.transaction(async (tx) => {
      for (let n = 0; n < 3_000; n++) await tx.run(problem, { id: `${n}`, detail: randomBytes(2_000).toString('base64') });
    });
  });
  const file = join(root, 'killed.gz');
  const child = spawn(process.execPath, [MAIN, 'backup', file], { env: { ...bareEnvironment(), MULTILITH_DATA: config.dataDir }, stdio: 'ignore' });
  while (!existsSync(`${file}.part`)) await new Promise((resolve) => setTimeout(resolve, 1));
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal(existsSync(file), false);
  await assert.rejects(restoreTo(configFor(join(root, 'killed-copy')), `${file}.part`), /cut off or damaged|no backup/);
  // The next one of that name is not in its way, and open to nobody else whoever had made what lies there.
  chmodSync(`${file}.part`, 0o666);
  await backUp(config, file);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(root).filter((name) => name.endsWith('.part')), []);
});

test('a backup of an older build is brought up to date by the next start, one of a newer build is refused by name', async () => {
  const older = { ...parts, modules: parts.modules.map((module) => (module.name === 'portal' ? { ...module, migrations: module.migrations.slice(0, -1) } : module)) };
  const newest = parts.modules.find(({ name }) => name === 'portal')!.migrations.at(-1)!.name;
  const [before, now] = [configFor(join(root, 'older')), configFor(join(root, 'now'))];
  await installation(before, older);
  const file = await backUp(before, join(root, 'older.gz'));
  await restoreTo(now, file);
  await withDatabases(now, async (databases) => {
    const portal = databases.get('portal')!;
    const applied = async () => ((await (portal as Storage<any>).db.selectFrom('migrations').select('name').execute()) as { name: string }[]).map(({ name }) => name);
    assert.ok(!(await applied()).includes(newest));
    await portal.migrate([...fabricMigrations, ...parts.modules.find(({ name }) => name === 'portal')!.migrations]);
    assert.ok((await applied()).includes(newest));
  });
  const current = configFor(join(root, 'current'));
  await installation(current);
  const newer = await backUp(current, join(root, 'current.gz'));
  await assert.rejects(restore({ file: newer, config: configFor(join(root, 'refused')), parts: older, now: new Date(), onTable: () => {} }), new RegExp(`newer build.*${newest}`));
});

test('a running host that cannot take part in a backup says why, and what can be done', () => {
  const config = (topology: object) => {
    const file = join(root, `live-${++made}.yaml`);
    writeFileSync(file, JSON.stringify({ extends: 'default', data: join(root, 'live'), ...topology }));
    return requireConfig({ topology: file, env: {}, cwd: root }, parts).config;
  };
  const alone = { config: config({}), isReady: true, isBusMoving: false, isStorageMoving: false };
  assert.equal(liveProblem(alone), null);
  const refused: [Partial<typeof alone>, RegExp][] = [
    [{ config: config({ bus: { driver: 'activemq' } }) }, /kept by activemq/],
    [{ isBusMoving: true }, /another bus/],
    [{ isStorageMoving: true }, /another storage/],
    [{ isReady: false }, /starting or stopping/],
  ];
  for (const [over, words] of refused) assert.match(liveProblem({ ...alone, ...over })!, words);
});
