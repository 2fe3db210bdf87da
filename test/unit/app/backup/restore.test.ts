import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { liveProblem } from '../../../../src/app/backup/databases.ts';
import { restore } from '../../../../src/app/backup/restore.ts';
import { BootProblem } from '../../../../src/app/host/boot-problem.ts';
import { readHold } from '../../../../src/app/host/sending-hold.ts';
import { parts } from '../../../../src/app/parts.ts';
import { fabricMigrations } from '../../../../src/fabric/tables.ts';
import type { Storage } from '../../../../src/ports/storage.ts';
import { backUp, configFor, contentsOf, fill, installation, linesOf, PEOPLE, removeAll, restoreTo, root, sealed, withDatabases } from '../../../support/backups.ts';
import { bareEnvironment } from '../../../support/bare-environment.ts';
import { PostgresServer } from '../../../support/postgres.ts';

const MAIN = join(import.meta.dirname, '../../../../src/main.js');
const postgres = new PostgresServer();
before(() => postgres.start());
after(async () => {
  await postgres.remove();
  removeAll();
});

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
  // One that was killed at its last step goes on there, and in the databases that it was begun in.
  const { sha256 } = JSON.parse(linesOf(files[0]!).at(-1)!) as { sha256: string };
  writeFileSync(join(second.dataDir, 'restore-unfinished.json'), JSON.stringify({ filled: sha256 }));
  postgres.query("INSERT INTO trigger.migrations VALUES ('restore-unfinished', 1)");
  await assert.rejects(restoreTo(configFor(second.dataDir), files[0]!), /into another database than that of portal/);
  await restoreTo(second, files[0]!);
  assert.equal(postgres.query("SELECT count(*) FROM trigger.migrations WHERE name = 'restore-unfinished'"), '0');
  assert.deepEqual(contentsOf(await backUp(second, join(root, 'gone-on.gz'))).length, one!.length + 1);
  // Neither is overwritten.
  await assert.rejects(restoreTo(third, files[0]!), /is not empty/);
  const fourth = configFor(join(root, 'fourth'), postgres.section);
  await assert.rejects(restoreTo(fourth, files[0]!), /portal is not empty/);
  assert.deepEqual(readdirSync(fourth.dataDir), []);
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
    'with another header': [changed((all) => [all[0]!.replace('2026', '2025').replace('portal', 'porter'), ...all.slice(1)]), /line 2: the first line names no database "portal"/],
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

test('what names other things than the topology, or holds what no backup does, is refused with the line and the table', async () => {
  const config = configFor(join(root, 'strange'));
  await installation(config);
  const lines = linesOf(await backUp(config, join(root, 'strange.gz'))).slice(0, -1);
  const header = JSON.parse(lines[0]!) as { databases: { name: string }[] };
  const headed = (databases: unknown) => [JSON.stringify({ ...header, databases }), ...lines.slice(1)];
  const person = lines.findIndex((line) => line.includes('u17 '));
  const people = lines.findIndex((line) => line.includes('"identities"'));
  const at = (place: number, line: string) => lines.map((one, index) => (index === place ? line : one));
  const cases: Record<string, [string[], RegExp]> = {
    'a module twice': [headed([...header.databases, header.databases[0]]), /line 1: it names the database "\w+" twice/],
    'no database': [[JSON.stringify({ ...header, databases: [] })], /nothing of portal, trigger, notification, bus/],
    'a module less': [[JSON.stringify({ ...header, databases: header.databases.filter(({ name }) => name !== 'trigger') })], /nothing of trigger/],
    'a table of nobody': [at(people, '{"database":"stranger","table":"people","columns":["id"]}'), new RegExp(`line ${people + 1}.*no database "stranger"`)],
    'a table twice': [[...lines, lines[people]!], /the table identities of portal is there twice/],
    'a table that no build has': [at(people, '{"database":"portal","table":"stranger","columns":["workspace_id","kind","value","person_id"]}'), /The table stranger of portal is another one/],
    'a row that is too short': [at(person, '["w","user"]'), new RegExp(`line ${person + 1} \\(table identities of portal\\): a row has 4 values, and this one 2`)],
    'a value that is none': [at(person, '["w","user",{"a":1},"p"]'), new RegExp(`line ${person + 1} .*the value of \\w+ is neither`)],
    'rows of nothing': [[lines[0]!, '["w"]'], /line 2: a row belongs to a table/],
    'a line that is no JSON': [at(person, '"'), new RegExp(`line ${person + 1} .*no JSON`)],
    'a header without its parts': [['{"multilith":"backup","format":1}'], /line 1: it does not say what the backup holds/],
  };
  const target = configFor(join(root, 'strange-copy'));
  for (const [name, [content, words]] of Object.entries(cases)) {
    const file = join(root, 'case.gz');
    if (content.some((line) => line === '"')) writeFileSync(file, gzipSync(content.join('\n')));
    else sealed(file, content);
    await assert.rejects(restoreTo(target, file), (error: Error) => error instanceof BootProblem && error.remedy !== '' && words.test(error.message), name);
  }
  // The one that showed in the middle has left what the next one begins anew in.
  sealed(join(root, 'whole.gz'), lines);
  await restoreTo(target, join(root, 'whole.gz'));
  assert.equal(existsSync(join(target.dataDir, 'installation.json')), true);
});

test('a backup that is killed leaves no file that looks whole', { timeout: 60_000 }, async () => {
  const config = configFor(join(root, 'killed'));
  await installation(config);
  await fill(config, 1_000);
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
  const alone = { isReady: true, isBusMoving: false, isStorageMoving: false };
  assert.equal(liveProblem(alone), null);
  const refused: [Partial<typeof alone>, RegExp][] = [
    [{ isBusMoving: true }, /another bus/],
    [{ isStorageMoving: true }, /another storage/],
    [{ isReady: false }, /starting or stopping/],
  ];
  for (const [over, words] of refused) assert.match(liveProblem({ ...alone, ...over })!, words);
});
